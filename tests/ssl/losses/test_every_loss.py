"""What holds for every loss: one in conf/loss is tested here by being there."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import sslab.conf
import torch
from embeddings import normal
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_object
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from ranks import outcomes
from sslab.ssl.config.make import make as made
from sslab.ssl.core.distributed import rank, total, world
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Step, View
from sslab.ssl.experiment.dry_run import blank
from sslab.ssl.losses.base.output import Output
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

# Settings of a loss that make another gradient, tested beside its default.
VARIANTS = {
    "cacr with queries": ("cacr", "loss.negatives=[queries]", "loss.detach_weights=true"),
    "dclw through weights": ("dclw", "loss.detach_weights=false"),
}
# What has no value without labels, and gets some; and where its gate is, which is made smaller.
LABELLED = {"hydra_pairs": "loss.gate", "simlap": "loss.gate", "simlap_moco": "loss.losses.classes.gate"}


def configs() -> dict[str, dict[str, Any]]:
    names = sorted(file.stem for file in Path(sslab.conf.__path__[0], "loss").glob("*.yaml"))
    choices = {name: (name, *smaller(name)) for name in names} | VARIANTS
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        composed = {
            name: compose("config", [f"loss={loss}", "name=test", *options]).loss
            for name, (loss, *options) in choices.items()
        }
    return {name: OmegaConf.to_container(node, resolve=True) for name, node in composed.items()}  # pyright: ignore[reportReturnType]


def smaller(name: str) -> list[str]:
    return [f"{LABELLED[name]}.{size}" for size in ("embedding=8", "hidden=16")] if name in LABELLED else []


CONFIGS = configs()
FACTS: dict[str, Any] = {"rows": 64, "classes": 10, "epochs": 1.0}
FITTING = {"groco": {"k_neg": 1}}  # what a loss must be told to take batches of two images
PIXELS = {"pixcontrast": (2, 2), "pixpro": (2, 2)}  # of the maps that a loss compares instead of vectors
# What changes the value: `order` of the views, their `basis` (rotation), their `scale`; order of `images`.
DEPENDS: dict[str, set[str]] = {
    "amcl": {"basis"},
    "amcl_barlow": {"basis", "scale"},
    "amcl_cosine": {"basis"},
    "barlow": {"basis", "scale"},  # scale by the epsilon beside the variance alone
    "cacr": {"order"},
    "dino": {"basis", "scale"},
    "swav": {"basis", "scale"},
    "vicreg": {"basis", "scale"},
    "wmse": {"basis"},
} | {name: {"basis", "images"} for name in LABELLED}  # labels and partners do not move with the images

every_loss = pytest.mark.parametrize("name", sorted(CONFIGS))


def make(name: str, dim: int = 8, **options: Any) -> nn.Module:
    """The loss `name` for embeddings of `dim` dimensions, with those of the options that it knows."""
    node = CONFIGS[name]
    known = inspect.signature(get_object(node["_target_"])).parameters
    changes = {**FITTING.get(name, {}), **options}
    loss = made(node | {k: v for k, v in changes.items() if k in known}, seed=0, dim=dim, **FACTS)
    if name in LABELLED:
        loss.register_forward_pre_hook(labelled)
    return loss


def labelled(loss: nn.Module, given: tuple[Step]) -> tuple[Step] | None:
    """Three classes for a step that knows of none."""
    batch = given[0].batch
    return (given[0]._replace(batch=batch._replace(label=batch.row % 3)),) if (batch.label < 0).all() else None


class Frozen(TorchFunctionMode):
    """Gives every detached tensor the value that it had when it was first made.

    A loss is so a function of what it differentiates alone, and its gradient can be checked by differences.
    """

    def __init__(self) -> None:
        super().__init__()
        self.constants: list[Tensor] = []
        self.made = 0

    def __enter__(self) -> "Frozen":
        self.made = 0
        return super().__enter__()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is not Tensor.detach:
            return result
        if self.made == len(self.constants):
            self.constants.append(result.clone())
        self.made += 1
        return self.constants[self.made - 1].clone()


def siamese(*z: Tensor) -> Step:
    targets = dict(enumerate(z))
    return step(targets, targets)


def step(q: dict[int, Tensor], k: dict[int, Tensor]) -> Step:
    """Of views of whole images."""
    return Step.of(q, k, views=(blank(len(q[0]), side=8),) * len(q))


def embeddings(name: str, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Views of images in dimensions, as vectors or as the maps that the loss compares."""
    return normal(*shape, *PIXELS.get(name, ()), seed=seed, dtype=dtype)


def turned(z: Tensor, rotation: Tensor) -> Tensor:
    return torch.einsum("vnd...,de->vne...", z, rotation)


@every_loss
def test_finite_with_two_images(name):
    z = embeddings(name, 2, 2, 8, dtype=torch.float32).requires_grad_()
    output = make(name)(siamese(*z))
    output.total.backward()
    assert output.total.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@every_loss
def test_finite_with_equal_features_at_a_low_temperature(name):
    z = torch.ones(2, 16, 8, *PIXELS.get(name, ()), requires_grad=True)
    output = make(name, temperature=0.05)(siamese(*z))
    output.total.backward()
    assert all(value.isfinite() for value in (output.total, *output.terms.values()))
    assert z.grad is not None
    assert z.grad.isfinite().all()


@every_loss
def test_multi_crop_sets_every_crop_against_the_large_ones(name):
    z = embeddings(name, 6, 5, 8).requires_grad_()
    output = make(name)(step(dict(enumerate(z)), {0: z[0], 1: z[1]}))
    (gradient,) = torch.autograd.grad(output.total, z)
    assert output.total.isfinite()
    assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()  # no crop is left out


@every_loss
def test_a_broken_embedding_is_not_hidden(name):
    z = embeddings(name, 2, 4, 8)
    z[1, 2, 3] = torch.nan
    assert make(name)(siamese(*z)).total.isnan()


@every_loss
def test_gradient_is_that_of_the_value(name):
    """Of the value in what the loss does not detach."""
    frozen = Frozen()

    def value(z: Tensor) -> Tensor:
        loss = make(name, dim=3)  # anew: it may keep something from step to step
        with frozen:
            return loss(siamese(*z)).total

    assert torch.autograd.gradcheck(value, embeddings(name, 2, 4, 3).requires_grad_())


@every_loss
def test_terms_are_for_the_log_alone(name):
    output = make(name, dim=3)(siamese(*embeddings(name, 2, 4, 3).requires_grad_()))
    assert isinstance(output, Output)
    assert output.total.requires_grad
    assert not any(value.requires_grad for value in output.terms.values())


@every_loss
@pytest.mark.parametrize("chunk", [1, 7, 24, 10**6])
def test_chunked_equals_dense(name, chunk):
    results = []
    for size in (10**9, chunk):
        z = embeddings(name, 2, 9, 5).requires_grad_()
        value = make(name, dim=5, chunk=size)(siamese(*z)).total
        results.append((value.detach(), *torch.autograd.grad(value, z)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@every_loss
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), images=st.integers(2, 6), views=st.integers(2, 3))
def test_order_of_images_and_views_and_basis_and_scale_are_immaterial(name, seed, images, views):
    z = embeddings(name, views, images, 4, seed=seed)
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(normal(4, 4, seed=seed + 1)).Q
    expected = make(name, dim=4)(siamese(*z)).total
    changes = {"images": z[:, order], "order": z.flip(0), "basis": turned(z, rotation), "scale": 3 * z}
    for what, changed in changes.items():
        if what not in DEPENDS.get(name, ()):
            torch.testing.assert_close(make(name, dim=4)(siamese(*changed)).total, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "what"), [(name, what) for name in sorted(DEPENDS) for what in sorted(DEPENDS[name])])
def test_what_a_loss_is_said_to_depend_on_it_does_depend_on(name, what):
    z = normal(3, 6, 4)
    basis = z @ torch.linalg.qr(normal(4, 4, seed=1)).Q
    changed = {"order": z.flip(0), "basis": basis, "scale": 3 * z, "images": z.flip(1)}[what]
    assert (make(name, dim=4)(siamese(*changed)).total - make(name, dim=4)(siamese(*z)).total).abs() > 1e-7


@every_loss
def test_autocast_changes_nothing_for_float32_and_little_for_bfloat16(name):
    def value_and_gradient(z: Tensor, enabled: bool) -> tuple[Tensor, Tensor]:
        z = z.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = make(name, dim=16)(siamese(*z)).total
            value.backward()  # inside, as careless training loops do
        assert z.grad is not None
        return value.detach(), z.grad.float()

    z = embeddings(name, 2, 32, 16, dtype=torch.float32)
    exact = value_and_gradient(z, enabled=False)
    torch.testing.assert_close(value_and_gradient(z, enabled=True), exact, rtol=0, atol=0)
    half = value_and_gradient(z.bfloat16(), enabled=True)
    torch.testing.assert_close(half[0], exact[0], rtol=1e-2, atol=1e-2)


@every_loss
def test_falls_under_adam(name):
    z = nn.Parameter(embeddings(name, 2, 64, 8, dtype=torch.float32))
    loss, optimiser = make(name, steepness=10.0), torch.optim.Adam([z], lr=0.05)
    values = []
    for _ in range(50):
        optimiser.zero_grad()
        value = loss(siamese(*z)).total
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0] - 0.1


def scenarios() -> dict[str, dict[str, Tensor]]:
    """Steps over a global batch of eight images: what the fields of the step hold beside the embeddings."""
    memory = {"memory": normal(6, 4, seed=5), "memory_row": torch.tensor([0, 1, 90, 91, 5, 93])}
    memory |= {"memory_group": torch.zeros(6, dtype=torch.long), "memory_label": torch.tensor([0, 1, 2, 3, -1, 5])}
    return {
        "plain": {},
        "weights": {"weight": torch.arange(1.0, 9.0)},
        "groups": {"group": torch.tensor([0, 1, 0, 0, 1, 1, 0, 1])},
        "repeated images": {"row": torch.tensor([3, 1, 4, 1, 5, 9, 2, 3])},
        "memory": memory,
        "labels": {"label": torch.tensor([0, 1, 0, -1, 1, 1, -1, 0])},
    }


def under_ranks() -> dict[tuple[str, str, bool], Any]:
    """For every loss: its global value and the encoder's gradient as DDP makes it, from this rank's images."""
    encoder = nn.Linear(5, 4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        encoder.weight.copy_(normal(4, 5, seed=1))
    encode = DistributedDataParallel(encoder) if world() > 1 else encoder
    return {
        (name, scenario, separate): value_and_gradient(name, encode, known, separate)
        for name in sorted(CONFIGS)
        for scenario, known in scenarios().items()
        for separate in (False, True)
    }


def value_and_gradient(name: str, encode: nn.Module, known: dict[str, Tensor], separate: bool) -> Any:
    """With `separate` targets from another encoder, without gradient, and in other views than the queries."""
    pixels = PIXELS.get(name, ())
    images = normal(3, *pixels, 8, 5) * torch.arange(1.0, 9.0)[:, None]  # ranks differ in content and in scale
    images = images.movedim(-2, 1)
    share = slice(rank() * 8 // world(), (rank() + 1) * 8 // world())
    q = dict(enumerate(encode(images[:, share]).movedim(-1, 2)))
    targets = (images[:, share] @ normal(5, 4, seed=2)).movedim(-1, 2)
    k = {1: targets[1], 2: targets[2]} if separate else q
    local = {field: value if field.startswith("memory") else value[share] for field, value in known.items()}
    label = {"label": local.pop("label")} if "label" in local else {}
    batch = Batch.of(torch.zeros(8 // world(), 3, 0, 0, dtype=torch.uint8), row=torch.arange(8)[share], **label)
    try:
        output = make(name, dim=4)(Step.of(q, k, batch, views=crops(share), **local))
    except UserError as refusal:
        return str(refusal)
    (weight,) = encode.parameters()
    weight.grad = None
    output.total.backward()
    values = {"total": output.total, **output.terms}
    return {key: total(value) / world() for key, value in values.items()} | {"gradient": weight.grad}


def crops(share: slice) -> tuple[View, ...]:
    """Three views of these of eight images, some of which do not overlap."""
    corner = normal(3, 8, 2, seed=3).sigmoid() / 2
    box, flipped = torch.cat([corner, corner + 0.2], dim=2), normal(3, 8, seed=4) > 0
    return tuple(View(torch.zeros(8, 3, 0, 0)[share], box[v, share], flipped[v, share]) for v in range(3))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    return {1: [under_ranks()]} | outcomes(under_ranks, (2, 4), tmp_path_factory.mktemp("ranks"))


@every_loss
@pytest.mark.parametrize("separate", [False, True], ids=["siamese", "separate"])
@pytest.mark.parametrize("scenario", sorted(scenarios()))
def test_ranks_make_the_value_and_gradient_of_one_process(results, name, scenario, separate):
    expected = results[1][0][name, scenario, separate]
    for outcome in (ranks[name, scenario, separate] for ranks in results[2] + results[4]):
        if isinstance(expected, str):  # refused
            assert outcome == expected
        else:
            torch.testing.assert_close(outcome, expected, rtol=1e-9, atol=1e-9)


@every_loss
def test_weights_are_heeded_or_refused(results, name):
    plain, weighted = (results[1][0][name, scenario, False] for scenario in ("plain", "weights"))
    assert isinstance(weighted, str) or not torch.equal(plain["total"], weighted["total"])
