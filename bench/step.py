"""The cost of the lab: a training step over the bare forward, backward and optimiser step of the same network.

    python -m bench.step            # ResNet-18 and ViT-S, 32 px
    python -m bench.step --backbones resnet_tiny [--steps 9] [choices of an experiment, such as data.batch_size=512]
    python -m bench.step --syncs    # instead, how often a step of the lab makes the CPU wait for the GPU, and where

Both run in one process and take turns, step by step, on the same tensors; the ratio of medians is what counts.
"""

import argparse
import copy
import statistics
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from sslab.ssl.experiment.build import Experiment

from .lab import experiment, now

WARM = 3
BATCH = {"vit_s": 64}  # of other backbones: 256


class Turns(pl.Callback):
    """Time the bare step on the same views after every training step of the lab."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.lab: list[float] = []
        self.bare: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.network = copy.deepcopy(pl_module.encoder)
        self.optimizer = self.experiment.module.optim.build({"network": self.network}, pl_module.total_batch)
        self.since = now(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.lab.append(now(pl_module.device) - self.since)
        with torch.no_grad():
            images = [view.image for view in pl_module.views(batch)]
        if pl_module.backbone.convolutional:
            images = [image.contiguous(memory_format=torch.channels_last) for image in images]
        began = now(pl_module.device)
        with trainer.precision_plugin.forward_context():
            outputs = [self.network.head(self.network.backbone(image)) for image in images]
            loss = sum(output.float().square().mean() for output in outputs)
        self.optimizer.zero_grad()
        loss.backward()  # pyright: ignore[reportAttributeAccessIssue]
        self.optimizer.step()
        self.since = now(pl_module.device)
        self.bare.append(self.since - began)


class Syncs(pl.Callback):
    """Make torch warn of whatever waits for the GPU, after the first steps."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == WARM:
            torch.cuda.set_sync_debug_mode("warn")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == trainer.max_steps:
            torch.cuda.set_sync_debug_mode("default")


def prepare(backbone: str, options: argparse.Namespace, choices: list[str]) -> Experiment:
    sizes = ["data.source.train=4000", "data.source.test=100", f"trainer.max_steps={options.steps}"]
    batch = f"data.batch_size={BATCH.get(backbone, 256)}"
    return experiment(f"backbone={backbone}", *sizes, batch, *choices)


def fit(parts: Experiment, steps: int, callbacks: list[pl.Callback]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trainer = parts.training.trainer(Path(folder), steps, callbacks, [])
        trainer.fit(parts.module, datamodule=parts.datamodule)


def measure(backbone: str, views: str, options: argparse.Namespace, choices: list[str]) -> None:
    parts = prepare(backbone, options, [f"views={views}", *choices])
    turns = Turns(parts)
    fit(parts, options.steps, [*parts.monitors, turns])
    lab, bare = (statistics.median(times[WARM:]) for times in (turns.lab, turns.bare))
    print(f"{backbone:12} views={views:8} {1e3 * lab:9.1f} {1e3 * bare:9.1f} {lab / bare:7.3f}", flush=True)


def count_syncs(backbone: str, options: argparse.Namespace, choices: list[str]) -> int:
    quiet = [f"trainer.{key}=1000000" for key in ("log_every", "checkpoint_every")]  # both may wait
    parts = prepare(backbone, options, ["views=simclr", "monitor=none", *quiet, *choices])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(parts, options.steps, [Syncs()])
    places = Counter(f"{w.filename}:{w.lineno}" for w in caught if "synchronizing CUDA" in str(w.message))
    print(f"{backbone:12} {places.total() / (options.steps - WARM):.2f} synchronisations per step")
    for place, times in places.most_common():
        print(f"    {times:4} {place}", flush=True)
    return places.total()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "vit_s"])
    parser.add_argument("--steps", type=int, default=9, help=f"the first {WARM} of which are not counted")
    parser.add_argument("--syncs", action="store_true")
    options, choices = parser.parse_known_args()
    if not options.syncs:
        print(f"{'backbone':12} {'':14} {'lab ms':>9} {'bare ms':>9} {'ratio':>7}")
        for backbone in options.backbones:
            for views in ("simclr", "none"):
                measure(backbone, views, options, choices)
    elif not torch.cuda.is_available():
        print("synchronisations skipped: no GPU")
    elif sum([count_syncs(backbone, options, choices) for backbone in options.backbones]):
        raise SystemExit("a step waits for the GPU: no step should")


if __name__ == "__main__":
    main()
