"""Memory of the contrastive losses at a large batch, and the time of every loss beside lightly's.

python -m bench.loss [--device cuda] [--images 4096] [--large 16384] [--dim 128] [--rounds 5] [--only swav dino]
"""

import argparse
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from sslab.ssl.config.make import make
from sslab.ssl.core.step import Batch, Step
from torch import Tensor, nn
from torch.nn.functional import normalize

from .lab import now

PEAKS = ("infonce", "dcl")
MAPS = {"pixcontrast", "pixpro"}  # what these compare is not timed here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--images", type=int, nargs="+", default=[4096], help="images of the timed batches")
    parser.add_argument("--large", type=int, default=16_384, help="images where memory is measured; 0: nowhere")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--only", nargs="*", help="the losses to time; all without it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", choices=PEAKS, help="print the extra memory in MiB of one loss, and stop")
    options = parser.parse_args()
    if options.peak:
        print(peak(loss(options.peak, options.large, options), options))
        return
    print(f"forward and backward of two views, D={options.dim}, {options.device}, {torch.get_num_threads()} threads")
    for images in options.images:
        beside(images, options)
    if options.large:
        peaks(options)


def peaks(options: argparse.Namespace) -> None:
    print(f"peak memory over the embeddings at N={options.large}, MiB")
    for name in PEAKS:  # a process each: a peak is never forgotten
        command = [sys.executable, "-m", "bench.loss", *sys.argv[1:], "--peak", name]
        print(f"  {name:12} {subprocess.check_output(command, text=True).strip():>6}", flush=True)


def beside(images: int, options: argparse.Namespace) -> None:
    print(f"milliseconds at N={images}, the best of {options.rounds}")
    print(f"  {'':12} {'ours':>7} {'lightly':>8} {'ratio':>6}")
    with options.device:  # where the centre of DINO is made
        theirs = lightly(options.dim)
    for name in options.only or sorted({path.stem for path in Path("conf/loss").glob("*.yaml")} - MAPS):
        ours, other = times(loss(name, images, options), theirs.get(name), images, options)
        ratio = f" {1000 * other:8.1f} {ours / other:6.2f}" if other else ""
        print(f"  {name:12} {1000 * ours:7.1f}{ratio}", flush=True)


def loss(name: str, images: int, options: argparse.Namespace) -> nn.Module:
    """Make the loss as conf/loss has it."""
    with initialize_config_module("sslab.conf", version_base="1.3"):
        node: Any = OmegaConf.to_container(compose("config", [f"loss={name}", "name=bench"]).loss, resolve=True)
    facts = {"rows": images, "classes": 10, "dim": options.dim, "batch_size": images, "epochs": 1.0}
    return make(node, seed=0, **facts).to(options.device)


def lightly(dim: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Its losses, with the options that ours have in conf/loss."""
    warnings.filterwarnings("ignore")
    from lightly import loss as losses

    koleo, swav, wmse = losses.KoLeoLoss(), losses.SwaVLoss(0.1), losses.WMSELoss(dim, w_size=2 * dim)
    cosine, dino = losses.NegativeCosineSimilarity(), losses.DINOLoss(dim, 0.04, 0.04)
    return {
        "infonce": losses.NTXentLoss(0.2),
        "dcl": losses.DCLLoss(0.1),
        "dclw": losses.DCLWLoss(0.1),
        "barlow": losses.BarlowTwinsLoss(0.0051),
        "vicreg": losses.VICRegLoss(),
        "cosine": lambda a, b: (cosine(a, b) + cosine(b, a)) / 2,
        "koleo": lambda a, b: koleo(a) + koleo(b),
        "wmse": lambda a, b: wmse(torch.cat([a, b])),
        "swav": lambda a, b: swav([a, b], []),
        "dino": lambda a, b: dino([a.detach(), b.detach()], [a, b], epoch=0),
    }


def peak(loss: nn.Module, options: argparse.Namespace) -> int:
    step = step_of(embeddings(options.large, options))
    run(loss, step_of(embeddings(8, options)))  # whatever libraries allocate once
    if options.device.type == "cuda":
        before = torch.cuda.memory_allocated() >> 20
        torch.cuda.reset_peak_memory_stats()
        run(loss, step)
        return (torch.cuda.max_memory_allocated() >> 20) - before
    before = memory("VmRSS")
    run(loss, step)
    return memory("VmHWM") - before


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(field))


def times(
    ours: nn.Module, theirs: Callable[[Tensor, Tensor], Tensor] | None, images: int, options: argparse.Namespace
) -> tuple[float, float]:
    """The best seconds of ours and of lightly's, in turns so that both meet the same weather; one turn is not timed."""
    z, device = embeddings(images, options), options.device
    step = step_of(z)  # which is another part's work
    seconds = [
        (
            clock(lambda: run(ours, step), device),
            clock(lambda: theirs(*z).backward(), device) if theirs else 0.0,
        )
        for _ in range(1 + options.rounds)
    ]
    mine, others = zip(*seconds[1:], strict=True)
    return min(mine), min(others)


def clock(work: Callable[[], None], device: torch.device) -> float:
    start = now(device)
    work()
    return now(device) - start


def run(loss: nn.Module, step: Step) -> None:
    loss(step).total.backward()


def step_of(z: list[Tensor]) -> Step:
    views = dict(enumerate(z))
    label = torch.arange(len(z[0]), device=z[0].device) % 10
    images = torch.zeros(len(label), 3, 0, 0, dtype=torch.uint8, device=label.device)
    return Step.of(views, views, Batch.of(images, label=label))


def embeddings(images: int, options: argparse.Namespace) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    z = [normalize(torch.randn(images, options.dim, generator=draw)).to(options.device) for _ in range(2)]
    return [view.requires_grad_() for view in z]


if __name__ == "__main__":
    main()
