"""Losses on two processes: value and gradient beside those of one process, ours and lightly's.

python -m bench.ranks [--images 64] [--dim 16]
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from sslab.ssl.core.distributed import rank, total, world
from sslab.ssl.core.step import Step
from sslab.ssl.losses.barlow import BarlowTwins
from sslab.ssl.losses.dclw import DCLW
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.koleo import KoLeo
from sslab.ssl.losses.vicreg import VICReg
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

Loss = Callable[[Tensor, Tensor], Tensor]
RANKS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--dim", type=int, default=16)
    options = parser.parse_args()
    alone = measure(options.images, options.dim)
    with tempfile.TemporaryDirectory() as folder:
        spawn(process, (folder, options.images, options.dim), RANKS)
        together = torch.load(Path(folder, "results.pt"))
    print(f"relative difference of {RANKS} gloo processes from one, {options.images} images, float64")
    print(f"  {'':8} {'sslab: value':>13} {'gradient':>9}   {'lightly: value':>14} {'gradient':>9}")
    for name in alone:
        (ours, theirs), (our_pair, their_pair) = alone[name], together[name]
        columns = [
            difference(a, b) for a, b in (*zip(ours, our_pair, strict=True), *zip(theirs, their_pair, strict=True))
        ]
        print(f"  {name:8} {columns[0]:13.0e} {columns[1]:9.0e}   {columns[2]:14.0e} {columns[3]:9.0e}")


def process(number: int, folder: str, images: int, dim: int) -> None:
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=number, world_size=RANKS)
    results = measure(images, dim)
    if number == 0:
        torch.save(results, Path(folder, "results.pt"))
    dist.destroy_process_group()


def measure(images: int, dim: int) -> dict[str, tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Value and gradient by each loss, ours and lightly's."""
    return {name: (run(ours, images, dim), run(theirs, images, dim)) for name, (ours, theirs) in losses(dim).items()}


def losses(dim: int) -> dict[str, tuple[Loss, Loss]]:
    warnings.filterwarnings("ignore")
    from lightly import loss as lightly

    gathering = world() > 1
    theirs: dict[str, nn.Module] = {
        "infonce": lightly.NTXentLoss(0.1, gather_distributed=gathering),
        "dcl": lightly.DCLLoss(0.1, gather_distributed=gathering),
        "dclw": lightly.DCLWLoss(0.1, gather_distributed=gathering),
        "barlow": lightly.BarlowTwinsLoss(0.0051, gather_distributed=gathering),
        "vicreg": lightly.VICRegLoss(gather_distributed=gathering),
        "koleo": lightly.KoLeoLoss(),
    }
    ours: dict[str, nn.Module] = {
        "infonce": InfoNCE(0.1),
        "dcl": InfoNCE(0.1, decouple=True),
        "dclw": DCLW(0.1),
        "barlow": BarlowTwins(0.0051),
        "vicreg": VICReg(),
        "koleo": KoLeo(),
    }

    def koleo(a: Tensor, b: Tensor) -> Tensor:
        return (theirs["koleo"](a) + theirs["koleo"](b)) / 2

    def mine(loss: nn.Module) -> Loss:
        return lambda a, b: loss(Step.of({0: a, 1: b}, {0: a, 1: b}, row=rows(len(a)))).total

    return {name: (mine(loss), koleo if name == "koleo" else theirs[name]) for name, loss in ours.items()}


def rows(n: int) -> Tensor:
    return torch.arange(rank() * n, (rank() + 1) * n)


def run(loss: Loss, images: int, dim: int) -> tuple[Tensor, Tensor]:
    """The mean value over processes, and the gradient of an encoder as DDP makes it from this process's images."""
    generator = torch.Generator().manual_seed(0)
    encoder = nn.Linear(dim, dim, bias=False, dtype=torch.float64)
    with torch.no_grad():
        encoder.weight.copy_(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    scale = torch.linspace(0.5, 2, images, dtype=torch.float64)[:, None]  # processes differ in what they hold
    views = torch.randn(2, images, dim, generator=generator, dtype=torch.float64) * scale
    encode = DistributedDataParallel(encoder) if world() > 1 else encoder
    share = views[:, rank() * images // world() : (rank() + 1) * images // world()]
    value = loss(*encode(share))
    value.backward()
    assert encoder.weight.grad is not None
    return total(value) / world(), encoder.weight.grad


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / a.norm())


if __name__ == "__main__":
    main()
