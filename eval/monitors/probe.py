"""A linear probe that is trained beside the network, on features that it cannot change."""

from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...ssl.core.distributed import total
from ...ssl.core.draws import mix, permutation
from ...ssl.core.step import Batch
from ..features.extract import evaluating, extract
from .periodic import Periodic


class OnlineProbe(Periodic):
    """Accuracy of a linear classifier on held-out rows, while it learns from the views of every batch.

    It sees the pooled features of one view, normalised by batch statistics, and is trained by SGD with momentum 0.9 on
    the labelled real rows; nothing flows back. Without labels or without held-out rows there is nothing to measure.

    Args:
        every: optimiser steps between two readings.
        queries: at most so many held-out rows are classified.
        lr: the learning rate of the probe.
        batch_size: images per pass.
    """

    def __init__(self, every: int = 200, queries: int = 512, lr: float = 0.1, batch_size: int = 512) -> None:
        super().__init__(every)
        self.queries, self.lr, self.batch_size = queries, lr, batch_size
        self.probe: nn.Sequential | None = None
        self.rows = torch.arange(0)
        self.classes = 0
        self.saved: dict[str, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        label = data.real_images.label
        if len(label[label >= 0].unique()) > 1:
            self.classes = int(label.max()) + 1
            self.rows = data.held_out[permutation(mix(0), len(data.held_out))[: self.queries]]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = pl_module.step_record
        if step is not None and step.features and len(self.rows):
            self._learn(step.features[min(step.features)].pooled.float(), step.batch)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def measure(self, trainer: pl.Trainer, module: Any) -> dict[str, float]:
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if self.probe is None or not trainer.is_global_zero:
            return {}
        setting = module.plain_view, module.device, self.batch_size, trainer.precision
        store = extract(module.backbone, data.real_images, *setting, self.rows)
        with evaluating(self.probe):
            prediction = self.probe(store.features.float().to(module.device)).argmax(1).cpu()
        return {"probe_accuracy": (prediction == store.label).double().mean().item()}

    def state_dict(self) -> dict[str, Any]:
        if self.probe is None:
            return {}
        return {"probe": self.probe.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.saved = state_dict

    def _learn(self, pooled: Float[Tensor, "b d"], batch: Batch) -> None:
        """One step on this batch; every rank takes the same."""
        known = (batch.label >= 0) & (batch.source == 0)
        if self.probe is None:
            self.probe = self._begin(pooled)
        with torch.enable_grad():
            loss = cross_entropy(self.probe(pooled), batch.label, ignore_index=-1, reduction="none")
            self.optimizer.zero_grad()
            (loss * known).sum().backward()
        count = total(known.sum()).clamp(min=1)
        for weight in self.probe.parameters():
            assert weight.grad is not None
            weight.grad = total(weight.grad) / count
        self.optimizer.step()

    def _begin(self, pooled: Float[Tensor, "b d"]) -> nn.Sequential:
        """A probe that knows nothing, or what the run that is resumed had taught it."""
        linear: Any = nn.utils.skip_init(nn.Linear, pooled.shape[1], self.classes)  # a usual one draws random numbers
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        probe = nn.Sequential(nn.BatchNorm1d(pooled.shape[1], affine=False), linear).to(pooled.device)
        self.optimizer = torch.optim.SGD(linear.parameters(), lr=self.lr, momentum=0.9)
        if self.saved:
            probe.load_state_dict(self.saved["probe"])
            self.optimizer.load_state_dict(self.saved["optimizer"])
        return probe
