"""What ranks make of their shares is what one process makes of the whole."""

from typing import Any

import pytest
import torch
from ranks import outcomes
from sslab.ssl.core.distributed import rank, world
from sslab.ssl.core.draws import keys
from sslab.ssl.core.step import Batch, Step, View
from sslab.ssl.latent.base import Part
from sslab.ssl.latent.ft import FeatureTransform
from sslab.ssl.latent.hallucinator import Hallucinator
from sslab.ssl.latent.mochi import MoCHi
from sslab.ssl.latent.neighbours import Neighbours
from sslab.ssl.latent.quality import Quality, Similarity
from sslab.ssl.latent.queue import Queue
from sslab.ssl.latent.whiten import Whiten
from sslab.ssl.losses.infonce import InfoNCE
from torch import Tensor

IMAGES, DIM, STEPS = 8, 6, 3


def share(x: Tensor) -> Tensor:
    return x.tensor_split(world())[rank()]


def step(number: int) -> Step:
    z = torch.randn(2, IMAGES, DIM, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
    batch = Batch.of(
        torch.zeros(IMAGES // world(), 3, 0, 0, dtype=torch.uint8),
        row=share(torch.arange(IMAGES) + number * IMAGES // 2),
        key=share(keys(number, torch.arange(IMAGES))),
        label=share(torch.arange(IMAGES) % 3),
    )
    return Step.of({0: share(z[0])}, {1: share(z[1])}, batch, group=share(torch.arange(IMAGES) % 2), key=number)


def hallucinate() -> dict[str, Any]:
    """SimCLR's loss with hallucinated queries, and its gradients; those of embeddings are of this rank's share."""
    torch.manual_seed(0)
    made, known = Hallucinator(DIM, 0.5).double(), step(1)
    q = {view: z.clone().requires_grad_() for view, z in {0: known.q[0], 1: known.k[1]}.items()}
    total = InfoNCE()(made(known._replace(q=q, k=q))).total
    total.backward()
    gradients = [q[0].grad, q[1].grad, *(p.grad for p in made.parameters())]
    return {
        "loss": total.detach(),
        **{str(i): g / world() if i < 2 else g for i, g in enumerate(gradients) if g is not None},
    }


class Scores(Quality):
    """Without an encoder: what it would find is given."""

    def __init__(self) -> None:
        Part.__init__(self)
        self.gamma = 1.0

    def similarity(self, a: View, b: View) -> Similarity:
        return Similarity(a.image[:, 0, 0, 0], b.image[:, 0, 0, 0])


def weigh() -> Step:
    known, still = step(3), torch.zeros(IMAGES // world(), dtype=torch.bool)
    image = [z[:, :3, None, None] for z in (known.q[0], known.k[1])]
    views = tuple(View(x, torch.zeros(len(x), 4), still) for x in image)
    return Scores()(known._replace(views=views))


def walk() -> dict[str, Any]:
    queue = Queue(2 * IMAGES, (DIM,), IMAGES).double()
    for number in range(STEPS):
        offered = queue(step(number))
    transformed = FeatureTransform(dimensions="both")(offered)
    z = share(torch.randn(IMAGES, DIM, generator=torch.Generator().manual_seed(9), dtype=torch.float64))
    z.requires_grad_()
    white = Whiten(2, 1e-3, dim=DIM, batch_size=IMAGES)(Step.of({0: z}, {1: step(0).k[1]})).q[0]
    (white * step(1).q[0]).sum().backward()
    return {
        "hallucinated": hallucinate(),
        "whole": {**queue.state_dict(), "memory": offered.memory, "mixed": transformed.memory, **weigh().terms},
        "shares": {
            "neighbours": Neighbours()(offered).k[1],
            "hard": MoCHi(4, 3, 2)(offered).hard[0],
            "q": transformed.q[0],
            "k": transformed.k[1],
            "white": white.detach(),
            "gradient": z.grad,
            "weight": weigh().weight,
        },
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    return {1: [walk()]} | outcomes(walk, (2, 4), tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("size", [2, 4])
def test_every_rank_has_the_queue_of_one_process(results, size):
    expected = results[1][0]["whole"]
    for outcome in results[size]:
        for name, value in expected.items():
            assert torch.equal(outcome["whole"][name], value), name


@pytest.mark.parametrize("size", [2, 4])
def test_shares_make_up_what_one_process_does(results, size):
    for name, expected in results[1][0]["shares"].items():
        together = torch.cat([outcome["shares"][name] for outcome in results[size]])
        # λ is drawn in float32, whose last bit depends on where a processor cuts a tensor into vectors.
        error = 1e-6 if name in ("q", "k") else 1e-12
        torch.testing.assert_close(together, expected, rtol=error, atol=error)


@pytest.mark.parametrize("size", [2, 4])
def test_hallucinated_queries_have_the_loss_and_the_gradients_of_one_process(results, size):
    for name, expected in results[1][0]["hallucinated"].items():
        found = [outcome["hallucinated"][name] for outcome in results[size]]
        together = torch.cat(found) if name in ("0", "1") else torch.stack(found).mean(0)
        torch.testing.assert_close(together, expected, rtol=1e-12, atol=1e-12)
