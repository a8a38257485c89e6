"""The race: kNN accuracy over wall-clock time of SimCLR by lightly, by solo-learn's settings and by this lab.

    python -m bench.race --epochs 10 --out race                        # on data=shapes
    python -m bench.race --data <folder with train.parquet, test.parquet> --minutes 3 --out race

All runs train the same backbone from the same weights, but for a stem that is asked for, on the same images, in turns
of an epoch, in one process: what else the machine does hits all alike. Clocks stand still while frozen features are
evaluated. Beside equal epochs, the lab has runs whose schedules end after given shares of lightly's time. lightly's
example computes in float32, as it is documented; the others in bf16 where the hardware does. The decoding of the files
is on nobody's clock.

Writes race.csv (what was measured), race.json (the table, and where it is from) and race.png, and prints the table.
"""

import argparse
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import torch
from sslab.datamodules.sources.parquet import found
from sslab.eval.features.extract import extract
from sslab.eval.neighbours.knn import knn
from sslab.ssl.config.error_messages import one_line_errors
from sslab.ssl.core.run_folder import environment, log_to
from sslab.ssl.experiment.build import Experiment
from torch import nn

from .contestants import Contestant, Lab, lightly, solo
from .curves import KS, REFERENCE, Point, Run, draw, rows, save, table
from .lab import experiment, now

BANK = 10_000  # training images whose labels vote


class Field:
    """The common part of all runs: the choices of an experiment, and its images, decoded once."""

    def __init__(self, choices: Sequence[str], workers: int, same_precision: bool) -> None:
        self.choices, self.workers, self.same_precision = choices, workers, same_precision
        parts = experiment(*choices, "trainer.max_epochs=1")
        parts.datamodule.setup()
        self.train, self.test = parts.datamodule.train_images, parts.datamodule.test_images
        self.view, self.device = parts.module.plain_view, parts.training.device

    def contestant(self, run: Run, seed: int) -> Contestant:
        parts = self._parts(run, seed)
        mixed = parts.training.mixed
        if run.name == REFERENCE:
            return lightly(parts, self.workers, mixed if self.same_precision else "32-true")
        return solo(parts, self.workers, mixed) if run.name == "solo-learn" else Lab(parts)

    def _parts(self, run: Run, seed: int) -> Experiment:
        parts = experiment(*self.choices, f"trainer.max_epochs={run.epochs}", f"seed={seed}", *run.overrides)
        parts.datamodule.train_images = self.train
        return parts

    def accuracy(self, backbone: nn.Module) -> tuple[float, ...]:
        """Percent by kNN of frozen features in float32, by KS: the same for all runs."""
        some = torch.arange(min(BANK, len(self.train)))
        bank = extract(backbone, self.train, self.view, self.device, rows=some)
        test = extract(backbone, self.test, self.view, self.device)
        voted = knn(bank, test, KS, [0.07])
        return tuple(100 * (voted[k, 0.07] == test.label).double().mean().item() for k in KS)


class Lengths(NamedTuple):
    """The lengths of runs: epochs of everyone or minutes of lightly's, and shares of its time."""

    epochs: int
    minutes: float | None
    shares: Sequence[float]


def main() -> None:
    options = arguments()
    warnings.filterwarnings("ignore")
    log_to(None, logging.WARNING)
    with one_line_errors(), files(options) as data:
        field = Field([*data, *settings(options)], options.workers, options.precision == "same")
        once = [Run(REFERENCE, 1), *(Run(f"ours {words}".strip(), 1, words.split()) for words in options.ours)]
        paces = [pace(field, run) for run in once]
        runs = entered(once[1:], paces, Lengths(options.epochs, options.minutes, options.shares))
        points = [shown(point) for seed in options.seeds for point in race(field, runs, seed, options.looks)]
    report = rows(points, options.levels)
    options.out.mkdir(parents=True, exist_ok=True)
    save(points, options.out / "race.csv")
    about = {
        **environment(),
        "threads": torch.get_num_threads(),
        "options": {k: str(v) for k, v in vars(options).items()},
    }
    (options.out / "race.json").write_text(json.dumps({"about": about, "rows": report}, indent=2, default=str))
    draw(points, options.out / "race.png")
    print(table(report))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, help="folder with train.parquet and test.parquet; without it, data=shapes")
    add("--images", type=int, help="the first so many to train on; without it, all")
    add("--test", type=int, help="the first so many to test on; without it, all")
    add("--epochs", type=int, default=10, help="of everyone, where epochs are equal")
    add("--minutes", type=float, help="of lightly's training, instead of --epochs")
    add("--shares", type=float, nargs="*", default=[0.2, 0.5, 1.0], help="of lightly's time, for further runs of ours")
    add("--backbone", default="resnet_tiny", choices=["resnet_tiny", "resnet18"])
    add("--batch", type=int, default=256)
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help="of a DataLoader; without it, one per core")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--ours", nargs="+", default=[""], help="the overrides of each contestant of ours, in one word; '': defaults")
    add("--precision", default="documented", choices=["documented", "same"], help="same: bf16 for lightly too")
    add("--looks", type=int, default=8, help="evaluations of each run")
    add("--levels", type=float, nargs="+", help="accuracies to reach, k=20; without it, multiples of five")
    add("--out", type=Path, required=True, help="folder for race.csv, race.json and race.png")
    return parser.parse_args()


@contextmanager
def files(options: argparse.Namespace) -> Iterator[list[str]]:
    """The choices of the data; where only the first images are asked for, they are copied."""
    limits = {"train": options.images, "test": options.test}
    if options.data is None:
        yield [f"data.source.{part}={count}" for part, count in limits.items() if count]
        return
    paths = {part: options.data / f"{part}.parquet" for part in limits}
    with tempfile.TemporaryDirectory() as folder:
        for part, count in limits.items():
            if count:
                whole = pq.read_table(found(part, str(paths[part])))
                paths[part] = Path(folder, f"{part}.parquet")
                pq.write_table(whole.slice(0, count), paths[part])
        yield ["data=parquet", *(f"data.{part}={path}" for part, path in paths.items())]


def settings(options: argparse.Namespace) -> list[str]:
    silent = ["trainer.max_steps=null", "trainer.progress_bar=false", "eval=none"]
    return [f"backbone={options.backbone}", f"data.batch_size={options.batch}", *silent]


def entered(ours: Sequence[Run], paces: Sequence[float], lengths: Lengths) -> list[Run]:
    """Equal epochs for everyone, and ours at shares of lightly's time.

    Args:
        ours: the lab's contestants.
        paces: seconds per epoch, of lightly and then of each of ours.
        lengths: of the runs.
    """
    theirs, *own = paces
    epochs = max(1, round(60 * lengths.minutes / theirs)) if lengths.minutes else lengths.epochs
    runs = [Run(REFERENCE, epochs), Run("solo-learn", epochs)]
    for run, seconds in zip(ours, own, strict=True):
        budgets = {max(1, int(share * epochs * theirs / seconds + 1e-6)) for share in lengths.shares}
        runs += [run._replace(epochs=length) for length in sorted({epochs, *budgets})]
    return runs


def pace(field: Field, run: Run) -> float:
    """Seconds of one epoch."""
    with closing(field.contestant(run, seed=0).epochs()) as epochs:
        began = now(field.device)
        next(epochs)
        return now(field.device) - began


def race(field: Field, runs: Sequence[Run], seed: int, looks: int) -> Iterator[Point]:
    """Train all runs side by side: the one that has done the least of its epochs does the next."""
    contestants = [field.contestant(run, seed) for run in runs]
    untrained = {run.name: c.backbone for run, c in zip(runs, contestants, strict=True)}  # alike, but for stems
    accuracies = {name: field.accuracy(backbone) for name, backbone in untrained.items()}
    latest = [
        Point(run.name, run.epochs, seed, contestant.precision, 0, 0.0, accuracies[run.name])
        for run, contestant in zip(runs, contestants, strict=True)
    ]
    yield from latest
    with ExitStack() as stack:
        turns = [stack.enter_context(closing(contestant.epochs())) for contestant in contestants]
        for _ in range(sum(run.epochs for run in runs)):
            i = min(range(len(runs)), key=lambda i: latest[i].epoch / runs[i].epochs)
            began = now(field.device)
            next(turns[i])
            seconds = latest[i].seconds + now(field.device) - began
            latest[i] = latest[i]._replace(epoch=latest[i].epoch + 1, seconds=seconds)
            if latest[i].epoch in looked_at(runs[i].epochs, looks):
                yield latest[i]._replace(accuracy=field.accuracy(contestants[i].backbone))


def shown(point: Point) -> Point:
    """The point, which is also printed as soon as it is there."""
    accuracies = ", ".join(f"{accuracy:.1f} % (k={k})" for k, accuracy in zip(KS, point.accuracy, strict=True))
    print(f"{point.name}: epoch {point.epoch} of {point.epochs}, {point.seconds:.1f} s, {accuracies}", flush=True)
    return point


def looked_at(epochs: int, looks: int) -> set[int]:
    """The epochs after which a run is evaluated: evenly spaced, the last among them."""
    return {-(-epochs * look // looks) for look in range(1, looks + 1)}


if __name__ == "__main__":
    main()
