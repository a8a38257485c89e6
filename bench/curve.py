"""Training for as many epochs as a time allows: the kNN accuracy of held-out images after every epoch.

    python -m bench.curve --seconds 100 data=cifar10 data.root=$ROOT experiment=simclr

The speed of the first steps tells how many epochs that will be, so that the learning rate falls to its end.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from sslab.ssl.experiment.build import Experiment

from .lab import experiment, now

WARM = 10  # steps before the clock starts
FIXED = ("data.resident=true", "eval=none", "~monitor.geometry", "~monitor.probe", "trainer.max_steps=null")


class Clock(pl.Callback):
    """The times at which each step was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        self.times.append(now(pl_module.device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, required=True, help="of training")
    parser.add_argument("--probe", type=int, default=60, help="steps that tell the speed")
    options, choices = parser.parse_known_args()
    first, clock = composed(choices, 1), Clock()
    fit(first, options.probe, [clock])
    speed = (len(clock.times) - WARM) / (clock.times[-1] - clock.times[WARM - 1])
    per_epoch = first.datamodule.batches_per_epoch
    epochs = max(1, int(options.seconds * speed / per_epoch))
    print(
        f"{speed:.1f} steps of {first.datamodule.batch_size} a second: {epochs} epochs of {per_epoch} steps", flush=True
    )
    parts = composed([*choices, f"monitor.knn.every={per_epoch}"], epochs)
    parts = parts._replace(datamodule=first.datamodule)  # whose images are held already
    began = now(parts.training.device)
    rows = fit(parts, epochs * per_epoch, parts.monitors)
    show(rows, per_epoch, now(parts.training.device) - began)


def composed(choices: list[str], epochs: int) -> Experiment:
    return experiment(*choices, *FIXED, f"trainer.max_epochs={epochs}")


def fit(parts: Experiment, steps: int, callbacks: list[pl.Callback]) -> dict[int, dict[str, Any]]:
    """The logged rows, by step."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = parts.training.trainer(Path(folder), steps, callbacks, [])
        trainer.fit(parts.module, datamodule=parts.datamodule)
    return trainer.loggers[0].rows  # pyright: ignore[reportAttributeAccessIssue]


def show(rows: dict[int, dict[str, Any]], per_epoch: int, seconds: float) -> None:
    print(f"{'epoch':>6} {'kNN, %':>7}")
    for step, row in sorted(rows.items()):
        if "monitor/knn_accuracy" in row:
            print(f"{(step + 1) // per_epoch:6} {100 * row['monitor/knn_accuracy']:7.1f}")
    print(f"trained in {seconds:.0f} s")


if __name__ == "__main__":
    main()
