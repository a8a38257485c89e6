"""Optimisers side by side: each with its rate swept, on losses of every kind, from the same weights and batches.

    python -m bench.optimisers --out study.csv
    python -m bench.optimisers --out study.csv --table

Appends a row for each run and skips those that are there, so that a study can be stopped, resumed and split over
processes by `--losses`.
"""

import argparse
import csv
import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from sslab.eval.features.extract import extract
from sslab.eval.neighbours.knn import knn
from sslab.eval.probes.linear import RECIPE, probe
from sslab.eval.protocols.validate import usable
from sslab.ssl.experiment.build import Experiment

from .lab import experiment

RATES = {  # around what each is used at, a factor of four apart
    "sgd": (0.03, 0.12, 0.5),
    "lars_clipped": (0.2, 0.8, 3.2),
    "adamw": (1e-3, 4e-3, 1.6e-2),
    "muon": (0.02, 0.08, 0.32),
}
COMMON = (
    "views=gentle",
    "head.hidden=512",
    "optim.weight_decay=1e-4",
    "optim.warmup=0.05",
    "optim.milestones=[]",
    "data.batch_size=128",
    "data.holdout=0.02",
    "trainer.max_epochs=null",
    "trainer.log_every=1000000",
    "trainer.progress_bar=false",
    "monitor=none",
    "eval=none",
)
WIDE = ("head.dim=512",)
QUEUE = ("latent.queue.size=4096",)
TEACHER = ("teacher.start=0.98", "teacher.end=1.0")
LOSSES: dict[str, tuple[str, ...]] = {  # an experiment, at a size for minutes
    "simclr": (),
    "dcl": (),
    "vicreg": WIDE,
    "barlow": WIDE,
    "byol": (*TEACHER, "predictor.hidden=512"),
    "simsiam": (*WIDE, "predictor.hidden=512"),
    "mocov2": (*TEACHER, *QUEUE),
    "dino": (*TEACHER, "head.prototypes=256", "head.frozen_epochs=0.5", "loss.warmup_epochs=2.0"),
    "swav": (*QUEUE, "latent.queue.from_epoch=1", "head.prototypes=256", "head.frozen_epochs=0.5"),
    "supcon": (),
    "amcl_simclr": (),
    "mv_dhel": (),
}
FIELDS = ("data", "backbone", "loss", "optimiser", "rate", "steps", "seed")


class Run(NamedTuple):
    """One run of the study."""

    data: str
    backbone: str
    loss: str
    optimiser: str
    rate: float
    steps: int
    seed: int

    def choices(self, data: list[str]) -> list[str]:
        return [
            f"experiment={self.loss}",
            f"backbone={self.backbone}",
            f"optim={self.optimiser}",
            *COMMON,
            *LOSSES[self.loss],
            *data,
            "optim.scaling=sqrt",
            f"optim.lr={self.rate}",
            f"trainer.max_steps={self.steps}",
            f"seed={self.seed}",
        ]


def main() -> None:
    options = arguments()
    if options.table:
        print(table(rows(options.out)))
        return
    data = [f"data={options.data}", *options.set]
    done = {tuple(row[field] for field in FIELDS) for row in rows(options.out)}
    for loss, optimiser, seed in itertools.product(options.losses, options.optimisers, options.seeds):
        for rate in options.rates or RATES[optimiser]:
            run = Run(options.data, options.backbone, loss, optimiser, rate, options.steps, seed)
            if tuple(map(str, run)) not in done:
                append(options.out, run._asdict(), train_and_measure(experiment(*run.choices(data))))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="CSV file that rows are appended to")
    parser.add_argument("--table", action="store_true", help="print the best rate of every optimiser, and stop")
    parser.add_argument("--data", default="shapes", help="a choice of the group data; its settings go into --set")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of the experiment")
    parser.add_argument("--backbone", default="resnet_tiny")
    parser.add_argument("--losses", nargs="*", default=list(LOSSES), choices=list(LOSSES))
    parser.add_argument("--optimisers", nargs="*", default=list(RATES), choices=list(RATES))
    parser.add_argument("--rates", nargs="*", type=float, help="instead of those swept")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    return parser.parse_args()


def train_and_measure(parts: Experiment, callbacks: Sequence[pl.Callback] = ()) -> dict[str, float]:
    """Accuracies of the trained and frozen backbone by kNN (k=20) and a linear probe, in percent; and CPU seconds."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trainer = parts.training.trainer(Path(folder), parts.module.total_steps, [*callbacks], [])
        trainer.fit(parts.module, datamodule=parts.datamodule)
        seconds = time.process_time() - began
        loss = float(trainer.callback_metrics.get("loss", torch.nan))
    parts.datamodule.setup("test")
    images = (parts.datamodule.real_images, parts.datamodule.test_images)
    device, precision = trainer.strategy.root_device, parts.training.mixed
    network: Any = parts.module.backbone.to(device)
    bank, test = (
        usable(extract(network, some, parts.module.plain_view, device, precision=precision)) for some in images
    )
    (voted,) = knn(bank, test, [20], [0.07]).values()
    logits = probe(bank, test, parts.config["seed"], RECIPE).logits
    accuracies = {"knn": voted, "linear": logits.argmax(1)}
    right = {name: 100 * (found == test.label).double().mean().item() for name, found in accuracies.items()}
    return {**right, "loss_value": loss, "seconds": seconds}


def rows(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open() as lines:
        return list(csv.DictReader(lines))


def append(file: Path, run: Mapping[str, Any], found: Mapping[str, float]) -> None:
    """Write a row of a run and what was measured of it, and print it."""
    new = not file.exists()
    with file.open("a") as lines:
        writer = csv.writer(lines)
        if new:
            writer.writerow([*run, *found])
        writer.writerow([*run.values(), *(f"{number:.2f}" for number in found.values())])
    print(*run.values(), *(f"{name} {number:.1f}" for name, number in found.items()), flush=True)


def table(found: list[dict[str, str]]) -> str:
    """Return the best rate by kNN of every loss and optimiser, with its accuracies."""
    optimisers = list(dict.fromkeys(row["optimiser"] for row in found))
    setting = ("data", "backbone", "loss", "steps", "seed")
    lines = [f"| {' | '.join([*setting, *optimisers])} |", "|---" * (len(setting) + len(optimisers)) + "|"]
    key = itemgetter(*setting)
    for which in dict.fromkeys(map(key, found)):
        cells = []
        for optimiser in optimisers:
            tried = [row for row in found if key(row) == which and row["optimiser"] == optimiser]
            best = max(tried, key=lambda row: float(row["knn"]), default=None)
            cells.append(f"{float(best['knn']):.1f} / {float(best['linear']):.1f} ({best['rate']})" if best else "")
        lines.append(f"| {' | '.join([*which, *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
