"""Several heads, their memory and the parameters of temperatures on 1 = 2 = 4 ranks."""

from typing import Any

import pytest
import torch
from embeddings import normal
from ranks import outcomes
from sslab.ssl.core.distributed import rank, total, world
from sslab.ssl.core.step import Batch, Step
from sslab.ssl.losses.amcl import AMCL
from sslab.ssl.losses.amcl_barlow import AMCLBarlow
from sslab.ssl.losses.amcl_cosine import AMCLCosine
from sslab.ssl.losses.policies.pair_temperature import AdaptiveTemperature, CorrelationTemperature
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

HEADS, DIM = 3, 4


class Trained(nn.Module):
    """What DDP averages the gradients of: an encoder of several heads and a loss."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.encoder, self.loss = nn.Linear(5, HEADS * DIM, bias=False, dtype=torch.float64), loss
        with torch.no_grad():
            self.encoder.weight.copy_(normal(HEADS * DIM, 5, seed=1))

    def forward(self, images: Tensor, k: Tensor | None, known: dict[str, Tensor]) -> Any:
        z = self.encoder(images).unflatten(2, (HEADS, DIM))
        q = dict(enumerate(z))
        batch = Batch.of(torch.zeros(images.shape[1], 3, 0, 0, dtype=torch.uint8), row=known["row"])
        return self.loss(Step.of(q, q if k is None else dict(enumerate(k)), batch, **known))


def losses() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    found: dict[str, nn.Module] = {
        f"{repulsion} literal={literal}": AMCL(
            AdaptiveTemperature(DIM, HEADS, paper_literal=literal), 0.3, repulsion, 3
        )
        for repulsion in ("max", "topk", "lse")
        for literal in (False, True)
    }
    found |= {
        "cosine": AMCLCosine(AdaptiveTemperature(DIM, HEADS)),
        "barlow": AMCLBarlow(CorrelationTemperature(HEADS)),
    }
    return {name: loss.double() for name, loss in found.items()}


def under_ranks() -> dict[str, Any]:
    memory = {"memory": normal(6, HEADS, DIM, seed=5), "memory_row": torch.tensor([0, 1, 90, 91, 5, 93])}
    memory |= {"memory_group": torch.tensor([0, 1, 0, 1, -1, 0]), "memory_label": torch.full((6,), -1)}
    share = slice(rank() * 8 // world(), (rank() + 1) * 8 // world())
    group = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1])[share]
    known = memory | {"row": torch.arange(8)[share], "group": group}
    images = (normal(2, 8, 5) * torch.arange(1.0, 9.0)[:, None])[:, share]  # ranks differ in content and in scale
    targets = {"cosine": normal(2, 8, DIM, seed=2)[:, share]}  # one for all heads
    found = {}
    for name, loss in losses().items():
        trained = Trained(loss)
        model = DistributedDataParallel(trained) if world() > 1 else trained
        output = model(images, targets.get(name), known)
        output.total.backward()
        values = {key: total(value) / world() for key, value in ({"total": output.total} | output.terms).items()}
        found[name] = values | {key: p.grad for key, p in trained.named_parameters()}
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    return {1: [under_ranks()]} | outcomes(under_ranks, (2, 4), tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", losses())
def test_ranks_make_the_value_and_every_gradient_of_one_process(results, name):
    expected = results[1][0][name]
    assert all(value is not None for value in expected.values())
    for outcome in results[2] + results[4]:
        torch.testing.assert_close(outcome[name], expected, rtol=1e-9, atol=1e-9)
