"""Memory of the contrastive losses at a large batch, and their time beside lightly's.

python -m bench.loss [--images 4096] [--dim 128] [--rounds 5]
"""

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from sslab.ssl.losses.dclw import DCLW
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.step import Step
from torch import Tensor, nn

OURS = {"infonce": InfoNCE(0.1), "dcl": InfoNCE(0.1, decouple=True), "dclw": DCLW(0.1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4096, help="images of the timed batch")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", choices=OURS, help="print the extra memory in MiB of one loss, and stop")
    options = parser.parse_args()
    if options.peak:
        print(peak(OURS[options.peak], images=16_384, dim=options.dim))
        return
    print(f"forward and backward of two views, D={options.dim}, {torch.get_num_threads()} threads")
    print("peak memory over the embeddings at N=16384, MiB")
    for name in ("infonce", "dcl"):  # a process each: a peak is never forgotten
        command = [sys.executable, "-m", "bench.loss", "--peak", name, "--dim", str(options.dim)]
        print(f"  {name:8} {subprocess.check_output(command, text=True).strip():>6}")
    print(
        f"seconds at N={options.images}, the best of {options.rounds}\n  {'':8} {'ours':>6} {'lightly':>8} {'ratio':>6}"
    )
    for name, (ours, theirs) in times(options.images, options.dim, options.rounds).items():
        print(f"  {name:8} {ours:6.2f} {theirs:8.2f} {ours / theirs:6.2f}")


def peak(loss: nn.Module, images: int, dim: int) -> int:
    z = embeddings(images, dim)
    run(loss, embeddings(8, dim))  # whatever libraries allocate once
    before = memory("VmRSS")
    run(loss, z)
    return memory("VmHWM") - before


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(field))


def times(images: int, dim: int, rounds: int) -> dict[str, tuple[float, float]]:
    """The best seconds of ours and of lightly's, in turns so that both meet the same weather."""
    warnings.filterwarnings("ignore", module="lightly")
    from lightly.loss import DCLLoss, DCLWLoss, NTXentLoss

    theirs = {"infonce": NTXentLoss(0.1), "dcl": DCLLoss(0.1), "dclw": DCLWLoss(0.1)}
    z = embeddings(images, dim)

    def best(name: str) -> tuple[float, float]:
        seconds = [
            (clock(lambda: run(OURS[name], z)), clock(lambda: theirs[name](*z).backward())) for _ in range(rounds)
        ]
        ours, others = zip(*seconds, strict=True)
        return min(ours), min(others)

    return {name: best(name) for name in OURS}


def clock(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(loss: nn.Module, z: list[Tensor]) -> None:
    views = dict(enumerate(z))
    loss(Step.of(views, views)).total.backward()


def embeddings(images: int, dim: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, dim, generator=generator).requires_grad_() for _ in range(2)]


if __name__ == "__main__":
    main()
