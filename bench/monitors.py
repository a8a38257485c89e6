"""The cost of the default monitors, as a share of a training step.

    python -m bench.monitors [--backbone resnet18] [--batch 256] [--readings 4]

A few steps are trained in which every monitor reads often. Each is charged what it does in every step, and one reading
divided by the number of steps between two that its default sets.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from sslab.eval.monitors.periodic import Periodic

from .lab import experiment, now

EVERY = 3  # steps between two readings here


class Clocked:
    """The seconds that a monitor takes in steps without and with a reading."""

    def __init__(self, monitor: Periodic) -> None:
        self.monitor, self.every = monitor, monitor.every
        self.plain: list[float] = []
        self.reading: list[float] = []
        self.since = 0.0
        monitor.every = EVERY
        for hook in ("on_before_optimizer_step", "on_train_batch_end"):
            setattr(monitor, hook, self.timed(getattr(monitor, hook)))

    def timed(self, hook: Callable[..., None]) -> Callable[..., None]:
        def run(trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
            began = now(pl_module.device)
            last = len(rest) > 1  # the second of the two hooks of a step
            due = last and self.monitor.due
            hook(trainer, pl_module, *rest)
            self.since += now(pl_module.device) - began
            if last:
                (self.reading if due else self.plain).append(self.since)
                self.since = 0.0

        return run

    @property
    def costs(self) -> tuple[float, float]:
        """Return the costs of every step, and of a reading beyond that; the first of each is warm-up."""
        plain, reading = (statistics.median(times[1:]) for times in (self.plain, self.reading))
        return plain, reading - plain


class Stopwatch(pl.Callback):
    """The seconds of training steps, before any monitor."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        self.since = now(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        self.steps.append(now(pl_module.device) - self.since)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--readings", type=int, default=4, help="of each monitor, the first of which is not counted")
    options = parser.parse_args()
    steps = EVERY * options.readings
    sizes = ["data.source.train=8000", "data.source.test=100", f"data.batch_size={options.batch}"]
    parts = experiment(f"backbone={options.backbone}", "views=simclr", f"trainer.max_steps={steps}", *sizes)
    clocked = [Clocked(monitor) for monitor in parts.monitors if isinstance(monitor, Periodic)]
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        trainer = parts.training.trainer(Path(folder), steps, [watch, *parts.monitors], [])
        trainer.fit(parts.module, datamodule=parts.datamodule)
    show(options, clocked, statistics.median(watch.steps[1:]))


def show(options: argparse.Namespace, clocked: list[Clocked], step: float) -> None:
    print(f"{options.backbone}, batch of {options.batch}: a step takes {1e3 * step:.1f} ms")
    print(f"{'':12} {'every':>6} {'step, ms':>9} {'reading, ms':>12} {'share':>7}")
    total = 0.0
    for one in clocked:
        plain, reading = one.costs
        share = (plain + reading / one.every) / step
        total += share
        name = type(one.monitor).__name__
        print(f"{name:12} {one.every:6} {1e3 * plain:9.2f} {1e3 * reading:12.1f} {share:7.2%}")
    print(f"{'all':12} {'':6} {'':9} {'':12} {total:7.2%}")


if __name__ == "__main__":
    main()
