"""Peak memory and time of a training step by the size of the chunks of trainer.cached_batch.

    python -m bench.cached [--backbone resnet18] [--batch 1024] [--chunks 512 256 128 64] [--rounds 3]

Memory is of one fresh process for each size: its largest resident set in two steps, less that before them; on a GPU
what torch has allocated at most. Times are of steps of one process that take turns; their ratio is what counts.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from .lab import experiment, now

MIB = 2**20


class Turns(pl.Callback):
    """Gives every step the next of some chunk sizes, and measures it."""

    def __init__(self, sizes: list[int | None]) -> None:
        self.sizes = sizes
        self.seconds: dict[int | None, list[float]] = {size: [] for size in sizes}
        self.before = self.used = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.before = peak(pl_module.device)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pl_module.encoder.chunk = self.sizes[trainer.global_step % len(self.sizes)]
        self.since = now(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seconds[pl_module.encoder.chunk].append(now(pl_module.device) - self.since)
        self.used = peak(pl_module.device) - self.before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--chunks", type=int, nargs="+", default=[512, 256, 128, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", type=int, help="print the peak memory of this size alone, of the whole batch for 0")
    options = parser.parse_args()
    sizes = [None, *options.chunks]
    if options.alone is not None:
        print(measure(options.backbone, options.batch, [options.alone or None], 2).used)
        return
    used = [alone(options.backbone, options.batch, size) for size in sizes]
    turns = measure(options.backbone, options.batch, sizes, (1 + options.rounds) * len(sizes))
    whole = statistics.median(turns.seconds[None][1:])
    print(f"{options.backbone}, two views of {options.batch} images of 32 px")
    print(f"{'chunk':>8} {'peak MiB':>9} {'seconds':>9} {'ratio':>6}")
    for size, memory in zip(sizes, used, strict=True):
        seconds = statistics.median(turns.seconds[size][1:])  # the first step warms up
        print(f"{size or 'off':>8} {memory / MIB:9.0f} {seconds:9.2f} {seconds / whole:6.2f}")


def alone(backbone: str, batch: int, size: int | None) -> int:
    """The peak memory of a fresh process."""
    options = ["--backbone", backbone, "--batch", str(batch), "--alone", str(size or 0)]
    command = [sys.executable, "-m", "bench.cached", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[-1])


def measure(backbone: str, batch: int, sizes: list[int | None], steps: int) -> Turns:
    few = [f"data.source.train={2 * batch}", "data.source.test=10", "data.holdout=0", "monitor=none", "eval=none"]
    parts = experiment(f"backbone={backbone}", f"data.batch_size={batch}", *few, f"trainer.max_steps={steps}")
    turns = Turns(sizes)
    with tempfile.TemporaryDirectory() as folder:
        trainer = parts.training.trainer(Path(folder), steps, [turns], [])
        trainer.fit(parts.module, datamodule=parts.datamodule)
    return turns


def peak(device: torch.device) -> int:
    """The most memory that has been in use, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
