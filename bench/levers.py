"""Levers that may make a network learn sooner: one at a time on SimCLR, with the optimiser that is the default.

    python -m bench.levers --out levers.csv --seeds 0 1 2                           # on data=shapes
    python -m bench.levers --out levers.csv --backbone vit_t --levers plain tokens_half
    python -m bench.levers --out levers.csv --table

Some levers are options of the lab, others are callbacks here: what does not win becomes no option. Seconds are those of
the CPU, which other programs on the machine hardly change if OMP_NUM_THREADS=1. Rows that are there are skipped.
"""

import argparse
import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import pytorch_lightning as pl
from sslab.ssl.experiment.build import Experiment
from timm.layers import PatchDropout
from torch import Tensor

from .lab import experiment
from .optimisers import COMMON, append, rows, train_and_measure


class Averaged(pl.Callback):
    """Evaluates the mean of the weights over the last steps: w' ← m w' + (1 - m) w, with a smaller m at first."""

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.mean = [tensor.clone() for tensor in weights(pl_module)]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        step = trainer.global_step
        share = 1 - min(self.momentum, step / (step + 10))
        for mine, theirs in zip(self.mean, weights(pl_module), strict=True):
            mine.lerp_(theirs, share)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        for mine, theirs in zip(self.mean, weights(pl_module), strict=True):
            theirs.copy_(mine)


def weights(module: Any) -> list[Tensor]:
    """Return the weights of the backbone and the statistics of its norms."""
    return [tensor.detach() for tensor in module.backbone.state_dict().values() if tensor.is_floating_point()]


class Growing(pl.Callback):
    """Views of `side` pixels for the first `share` of the steps, then of their own size."""

    def __init__(self, side: int, share: float) -> None:
        self.side, self.share = side, share

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.full = pl_module.views

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        small = pl_module.progress < self.share
        pl_module.views = replace(self.full, size=self.side) if small else self.full


class FewerTokens(pl.Callback):
    """Leaves so many of a ViT's tokens out in training; the map of features is then a list."""

    def __init__(self, share: float) -> None:
        self.share = share

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        backbone = pl_module.backbone
        backbone.trunk.patch_drop = PatchDropout(self.share, backbone.trunk.num_prefix_tokens)
        self.map, backbone._map = backbone._map, lambda last, *sides: last.transpose(1, 2).unsqueeze(3)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.backbone._map = self.map


class LargerBatch(pl.Callback):
    """Trains on the first `first` images of each batch for the first half of the steps."""

    def __init__(self, first: int) -> None:
        self.first = first

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        step = pl_module.training_step

        @wraps(step)
        def of_some(batch: Any, *index: int) -> Tensor:
            some = type(batch)(*(part[: self.first] for part in batch)) if pl_module.progress < 0.5 else batch
            return step(some, *index)

        pl_module.training_step = of_some


class Lever(NamedTuple):
    """A difference from the plain run. `length`: steps over those of the plain run, so that the time is alike."""

    choices: tuple[str, ...] = ()
    callbacks: Callable[[], list[pl.Callback]] = list
    length: float = 1.0


LEVERS = {
    "plain": Lever(),
    "final_tenth": Lever(("optim.final=0.1",)),
    "held": Lever(("optim.hold=0.7",)),
    "constant": Lever(("optim.final=1.0",)),
    "averaged": Lever((), lambda: [Averaged(0.95)]),
    "averaged_long": Lever((), lambda: [Averaged(0.99)]),
    "constant_averaged": Lever(("optim.final=1.0",), lambda: [Averaged(0.95)]),
    "warmer": Lever(("loss.temperature=0.5",)),
    "cooler": Lever(("loss.temperature=0.1",)),
    "cooling": Lever(("+loss/temperature=scheduled", "loss.temperature.start=0.5", "loss.temperature.end=0.1")),
    "warming": Lever(("+loss/temperature=scheduled", "loss.temperature.start=0.1", "loss.temperature.end=0.5")),
    "small_first": Lever((), lambda: [Growing(16, 0.5)]),
    "small_first_as_long": Lever((), lambda: [Growing(16, 0.5)], 1.6),
    "whitened_stem": Lever(("backbone.stem=whitened",)),
    "whitened_stem_held": Lever(("backbone.stem=whitened", "optim.hold=0.7")),
    "batch_64": Lever(("data.batch_size=64",), length=2.0),
    "batch_256": Lever(("data.batch_size=256",), length=0.5),
    "batch_512": Lever(("data.batch_size=512",), length=0.25),
    "larger_batch_later": Lever((), lambda: [LargerBatch(64)], 4 / 3),
    "norms_faster": Lever(("+optim.options.fallback_lr_scale=4",)),
    "rate_half": Lever(("optim.lr={convolution: 0.04, attention: 0.01}",)),
    "rate_double": Lever(("optim.lr={convolution: 0.16, attention: 0.04}",)),
    "rate_quadruple": Lever(("optim.lr={convolution: 0.32, attention: 0.08}",)),
    "patch_4": Lever(("backbone.patch=4",), length=0.25),
    "tokens_half": Lever((), lambda: [FewerTokens(0.5)], 1.9),
    "patch_4_tokens_half": Lever(("backbone.patch=4",), lambda: [FewerTokens(0.5)], 0.5),
    "patch_4_tokens_quarter": Lever(("backbone.patch=4",), lambda: [FewerTokens(0.75)], 1.0),
}
FIELDS = ("data", "backbone", "lever", "steps", "seed")


def main() -> None:
    options = arguments()
    if options.table:
        print(table(rows(options.out)))
        return
    done = {tuple(row[field] for field in FIELDS) for row in rows(options.out)}
    for name, seed in itertools.product(options.levers, options.seeds):
        lever = LEVERS[name]
        steps = round(options.steps * lever.length)
        run = (options.data, options.backbone, name, steps, seed)
        if tuple(map(str, run)) in done:
            continue
        found = train_and_measure(composed(options, lever, steps, seed), lever.callbacks())
        append(options.out, dict(zip(FIELDS, run, strict=True)), found)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="CSV file that rows are appended to")
    add("--table", action="store_true", help="print what is there, mean and deviation over seeds, and stop")
    add("--data", default="shapes", help="a choice of the group data; its settings go into --set")
    add("--set", nargs="*", default=[], help="further overrides of the experiment")
    add("--backbone", default="resnet_tiny")
    add("--levers", nargs="*", default=["plain"], choices=list(LEVERS))
    add("--steps", type=int, default=300, help="of the plain run")
    add("--seeds", nargs="*", type=int, default=[0])
    return parser.parse_args()


def composed(options: argparse.Namespace, lever: Lever, steps: int, seed: int) -> Experiment:
    return experiment(
        f"data={options.data}",
        f"backbone={options.backbone}",
        *COMMON,
        *options.set,
        f"trainer.max_steps={steps}",
        f"seed={seed}",
        *lever.choices,
    )


def table(found: list[dict[str, str]]) -> str:
    """Mean ± deviation over seeds, the order that of the file."""
    lines = ["| data | backbone | lever | steps | seeds | kNN | linear | CPU seconds |", "|---" * 8 + "|"]

    def key(row: dict[str, str]) -> tuple[str, ...]:
        return tuple(row[field] for field in FIELDS[:-1])

    for which in dict.fromkeys(map(key, found)):
        same = [row for row in found if key(row) == which]
        cells = [spread([float(row[name]) for row in same]) for name in ("knn", "linear")]
        seconds = f"{mean(float(row['seconds']) for row in same):.0f}"
        lines.append(f"| {' | '.join([*which, str(len(same)), *cells, seconds])} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
