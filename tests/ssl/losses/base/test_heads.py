from pathlib import Path
from typing import Any

import pytest
import sslab.conf
import torch
from embeddings import normal, siamese
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from sslab.ssl.config.make import make
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Step
from sslab.ssl.losses.barlow import BarlowTwins
from sslab.ssl.losses.dclw import DCLW
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.koleo import KoLeo
from sslab.ssl.losses.policies.temperature import PerRow
from sslab.ssl.losses.sogclr import SogCLR
from sslab.ssl.losses.sum import Sum
from torch import Tensor, nn

NAMES = sorted(file.stem for file in Path(sslab.conf.__path__[0], "loss").glob("*.yaml"))
REFUSED = {  # what a loss says to several heads that it is not for
    "dino": "head=prototypes",
    "isogclr": "keeps a value for every row",
    "pixcontrast": "the head gives no maps",
    "pixpro": "the head gives no maps",
    "sogclr": "keeps a value for every row",
    "swav": "head=prototypes",
}


def made(name: str) -> nn.Module:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        node: Any = OmegaConf.to_container(compose("config", [f"loss={name}", "name=test"]).loss, resolve=True)
    if name == "groco":
        node["k_neg"] = 3
    return make(node, seed=0, rows=8, classes=10, dim=5, query_heads=3, scores=False, epochs=1.0)


def labelled(z: Tensor) -> Step:
    views = dict(enumerate(z))
    batch = Batch.of(torch.zeros(z.shape[1], 3, 0, 0, dtype=torch.uint8), label=torch.arange(z.shape[1]) % 3)
    return Step.of(views, views, batch)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_is_a_mean_over_heads_or_says_why_not(name):
    z = normal(2, 8, 3, 5).requires_grad_()
    if name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name]):
            made(name)(labelled(z))
        return
    each = torch.stack([made(name)(labelled(z[:, :, head])).total for head in range(3)]).mean()
    together = made(name)(labelled(z)).total
    torch.testing.assert_close(together, each)
    torch.testing.assert_close(torch.autograd.grad(together, z), torch.autograd.grad(each, z))


@pytest.mark.parametrize("loss", [InfoNCE(), DCLW(), BarlowTwins(), KoLeo()])
def test_the_loss_of_several_heads_is_the_mean_of_theirs(loss):
    z = normal(2, 6, 3, 5)  # views, images, heads
    each = [loss(siamese(z[:, :, head])) for head in range(3)]
    together = loss(siamese(z))
    torch.testing.assert_close(together.total, torch.stack([one.total for one in each]).mean())
    for name, term in together.terms.items():
        torch.testing.assert_close(term, torch.stack([one.terms[name] for one in each]).mean())


def test_a_head_meets_its_own_part_of_the_memory():
    z, memory = normal(2, 4, 2, 5), normal(6, 2, 5)
    known = {"memory_row": torch.arange(90, 96), "memory_group": torch.zeros(6, dtype=torch.long)}
    known["memory_label"] = torch.full((6,), -1)
    each = [InfoNCE()(siamese(z[:, :, head], memory=memory[:, head], **known)).total for head in range(2)]
    torch.testing.assert_close(InfoNCE()(siamese(z, memory=memory, **known)).total, torch.stack(each).mean())


def test_targets_without_heads_are_those_of_every_head():
    q, k = normal(4, 3, 5), normal(4, 5)
    each = [InfoNCE()(Step.of({0: q[:, head]}, {1: k})).total for head in range(3)]
    torch.testing.assert_close(InfoNCE()(Step.of({0: q}, {1: k})).total, torch.stack(each).mean())


@pytest.mark.parametrize(
    ("loss", "shape", "message"),
    [
        (SogCLR(8), (4, 2, 5), "keeps a value for every row, but not for 2 heads"),
        (InfoNCE(PerRow(8)), (4, 2, 5), "keeps a value for every row"),
        (InfoNCE(), (4, 5, 2, 2), "the head gives maps"),
        (Sum({"a": InfoNCE()}, heads={"a": 2}), (4, 2, 5), "no head 2: the heads are numbered 0 to 1"),
        (Sum({"a": InfoNCE()}, views={"a": [7]}), (4, 2, 5), r"loss.views.a=\[7\]"),
    ],
)
def test_what_does_not_fit_is_refused(loss, shape, message):
    with pytest.raises(UserError, match=message):
        loss(siamese(normal(2, *shape)))


def test_named_heads_need_a_loss_each():
    named = {v: {"a": normal(4, 5), "b": normal(4, 5)} for v in (0, 1)}
    with pytest.raises(UserError, match="several heads"):
        InfoNCE()(Step.of(named, named))
    with pytest.raises(UserError, match="no head c: the heads are a, b"):
        Sum({"x": InfoNCE()}, heads={"x": "c"})(Step.of(named, named))


def test_losses_of_a_sum_see_their_own_heads_and_views():
    z = normal(4, 6, 2, 5)  # views, images, heads
    both = Sum({"a": InfoNCE(), "b": DCLW()}, {"b": 3.0}, heads={"a": 0, "b": 1}, views={"a": [0, 1], "b": [2, 3]})
    expected = InfoNCE()(siamese(z[:2, :, 0])).total + 3 * DCLW()(siamese(z[2:, :, 1])).total
    torch.testing.assert_close(both(siamese(z)).total, expected)


def test_a_loss_of_a_sum_sees_the_head_of_a_name():
    z = normal(2, 6, 5)
    named = {v: {"maps": torch.zeros(6, 5, 2, 2), "vectors": z[v]} for v in (0, 1)}
    loss = Sum({"a": InfoNCE()}, heads={"a": "vectors"})
    torch.testing.assert_close(loss(Step.of(named, named)).total, InfoNCE()(siamese(z)).total)
