"""Chunks on several ranks; apart from the other tests of chunks, so that every process imports little."""

from pathlib import Path

import torch
from embeddings import normal
from ranks import outcomes
from sslab.heads.mlp import Projector
from sslab.ssl.core.distributed import rank, total, world
from sslab.ssl.core.step import Features, Step, View
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.model.encoder import Encoder
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Net(nn.Module):
    """A backbone of two convolutions without statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.GroupNorm(2, 8), nn.GELU(), nn.Conv2d(8, 16, 3))

    def forward(self, image: Tensor) -> Features:
        dense = self.net(image)
        return Features(dense.mean((2, 3)), dense, dense.flatten(2).mT)


class Objective(nn.Module):
    """A loss of this rank's images and all others."""

    def __init__(self, chunk: int | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = Encoder(Net(), Projector(16, 16, 8, norm="layer"), chunk).double()

    def forward(self, images: Tensor, row: Tensor) -> Tensor:
        blank = torch.zeros(len(row), 4), torch.zeros(len(row), dtype=torch.bool)
        z = {v: e.z for v, e in self.encoder({v: View(image, *blank) for v, image in enumerate(images)}).items()}
        return InfoNCE(0.2)(Step.of(z, z, row=row)).total


def under_ranks(chunk: int | None = 3) -> dict[str, Tensor]:
    """The global loss, and the encoder's gradient as DDP makes it from this rank's share of sixteen images."""
    objective = Objective(chunk)
    share = slice(rank() * 16 // world(), (rank() + 1) * 16 // world())
    run = DistributedDataParallel(objective) if world() > 1 else objective
    loss = run(normal(2, 16, 3, 16, 16)[:, share], torch.arange(16)[share])
    loss.backward()
    gradients = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    return {"loss": total(loss) / world(), **gradients}


def test_ranks_in_chunks_make_the_gradient_of_one_process(tmp_path: Path) -> None:
    whole = under_ranks(chunk=None)
    for chunks in outcomes(under_ranks, (2,), tmp_path)[2]:
        torch.testing.assert_close(chunks, whole, rtol=1e-9, atol=1e-9)
