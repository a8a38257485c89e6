"""What the lab costs: a training step over the bare forward, backward and optimiser step of the same network.

    python -m bench.step            # ResNet-18 and ViT-S, 32 px
    python -m bench.step resnet_tiny

Both run in one process and take turns, step by step, on the same tensors; the ratio of medians is what counts.
"""

import copy
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from sslab.ssl.build import Experiment

from .lab import experiment, now

STEPS, WARM = 9, 3
BATCH = {"vit_s": 64}  # of other backbones: 256


class Turns(pl.Callback):
    """After every training step of the lab, times the bare step on the same views."""

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


def prepare(backbone: str, views: str) -> Experiment:
    sizes = ["data.source.train=4000", "data.source.test=100", f"trainer.max_steps={STEPS}"]
    return experiment(f"backbone={backbone}", f"views={views}", *sizes, f"data.batch_size={BATCH.get(backbone, 256)}")


def measure(backbone: str, views: str) -> None:
    parts = prepare(backbone, views)
    turns = Turns(parts)
    with tempfile.TemporaryDirectory() as folder:
        trainer = parts.training.trainer(Path(folder), STEPS, [*parts.monitors, turns], [])
        trainer.fit(parts.module, datamodule=parts.datamodule)
    lab, bare = (statistics.median(times[WARM:]) for times in (turns.lab, turns.bare))
    print(f"{backbone:12} views={views:8} {1e3 * lab:9.1f} {1e3 * bare:9.1f} {lab / bare:7.3f}", flush=True)


def main() -> None:
    print(f"{'backbone':12} {'':14} {'lab ms':>9} {'bare ms':>9} {'ratio':>7}")
    for backbone in sys.argv[1:] or ["resnet18", "vit_s"]:
        for views in ("simclr", "none"):
            measure(backbone, views)


if __name__ == "__main__":
    main()
