"""The cost of an optimiser's step: time and state beside AdamW's, and as a share of the whole training step.

    python -m bench.updates                           # resnet_tiny, resnet18, vit_t and vit_s at 32 px
    python -m bench.updates --backbones vit_s --ranks 2

Optimisers take turns on the same weights and gradients; the medians count. With `--ranks` also Muon's step where every
process moves all matrices, and where each moves its share and sends it to the others by gloo.
"""

import argparse
import copy
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from sslab.ssl.experiment.build import Experiment
from timm.optim.muon import Muon
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from .lab import experiment, now

NAMES = ("sgd", "lars", "adamw", "muon")
SMALL = (
    "data.source.train=64",
    "data.batch_size=32",
    "data.source.test=8",
    "data.holdout=0",
    "eval=none",
    "monitor=none",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["resnet_tiny", "resnet18", "vit_t", "vit_s"])
    parser.add_argument("--images", type=int, default=128, help="of a training step, in two views each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=1)
    options = parser.parse_args()
    print(f"{'backbone':12} {'optimiser':9} {'step, ms':>9} {'over AdamW':>11} {'state, MiB':>11} {'of the step':>12}")
    for name in options.backbones:
        measure(name, options.images, options.rounds)
    if options.ranks > 1:
        for name in options.backbones:
            with tempfile.TemporaryDirectory() as folder:
                spawn(_shared, (name, options.rounds, options.ranks, Path(folder, "store")), nprocs=options.ranks)


def measure(name: str, count: int, rounds: int) -> None:
    runs = {optim: made(name, optim) for optim in NAMES}
    parts = runs["adamw"][0]
    passes = median(lambda: forward_and_backward(parts, count), rounds, parts)
    times: dict[str, list[float]] = {optim: [] for optim in NAMES}
    for _ in range(rounds + 1):  # the first makes the state
        for optim, (some, optimizer) in runs.items():
            times[optim].append(timed(optimizer.step, some))
    medians = {optim: statistics.median(seconds[1:]) for optim, seconds in times.items()}
    for optim, seconds in medians.items():
        over, state = seconds / medians["adamw"], mebibytes(runs[optim][1])
        share = seconds / (seconds + passes)
        print(f"{name:12} {optim:9} {1000 * seconds:9.1f} {over:11.2f} {state:11.1f} {share:12.3f}", flush=True)


def made(name: str, optim: str) -> tuple[Experiment, torch.optim.Optimizer]:
    """A network with gradients, and its optimiser."""
    parts = experiment(f"backbone={name}", f"optim={optim}", *SMALL)
    torch.manual_seed(0)
    for parameter in parts.module.encoder.to(parts.training.device).parameters():
        parameter.grad = torch.randn_like(parameter)
    return parts, parts.module.optim.build({"encoder": parts.module.encoder}, 256)


def forward_and_backward(parts: Experiment, count: int) -> None:
    encoder, device = copy.deepcopy(parts.module.encoder), parts.training.device
    image = torch.randn(count, 3, 32, 32, device=device)
    for _ in range(2):
        with torch.autocast(device.type, torch.bfloat16, enabled="bf16" in parts.training.mixed):
            z = encoder.head(encoder.backbone(image))
        z.float().square().mean().backward()


def mebibytes(optimizer: torch.optim.Optimizer) -> float:
    states: Any = optimizer.state.values()
    return sum(v.nbytes for state in states for v in state.values() if isinstance(v, Tensor)) / 2**20


def median(work: Callable[[], Any], rounds: int, parts: Experiment) -> float:
    return statistics.median([timed(work, parts) for _ in range(rounds + 1)][1:])


def timed(work: Callable[[], Any], parts: Experiment) -> float:
    began = now(parts.training.device)
    work()
    return now(parts.training.device) - began


def _shared(rank: int, name: str, rounds: int, ranks: int, store: Path) -> None:
    """Time steps where every process moves all matrices, and where each moves its share."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    parts, optimizer = made(name, "muon")
    gradients = {p: p.grad for group in optimizer.param_groups for p in group["params"]}
    times: dict[str, list[float]] = {"all": [], "shared": []}
    for _ in range(rounds + 1):
        for kind, step in (("all", lambda: Muon.step(optimizer)), ("shared", optimizer.step)):  # pyright: ignore[reportArgumentType]
            for parameter, gradient in gradients.items():
                parameter.grad = gradient
            dist.barrier()
            times[kind].append(timed(step, parts))
    if rank == 0:
        medians = [f"{kind} {1000 * statistics.median(seconds[1:]):.0f} ms" for kind, seconds in times.items()]
        print(f"{name:12} muon on {ranks} ranks, one thread each: {', '.join(medians)}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
