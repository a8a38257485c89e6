"""Optimisers and schedules: timm's optimisers, a learning rate that scales with the batch, warm-up and cosine."""

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from torch import nn


class Optim(NamedTuple):
    """How weights are updated.

    The peak learning rate is lr · batch / 256 (`scaling="linear"`), lr · √(batch / 256) (`"sqrt"`) or lr (`"none"`),
    batch being all samples of one optimiser step. It rises linearly over the first `warmup` of all steps and falls
    by a cosine to `final` of the peak. Norms and biases have no decay (and, under LARS, no trust ratio).
    """

    name: str
    lr: float
    weight_decay: float
    momentum: float = 0.9
    scaling: Literal["linear", "sqrt", "none"] = "linear"
    warmup: float = 0.05
    final: float = 0.0
    options: dict[str, Any] = {}

    def peak(self, batch: int) -> float:
        ratio = batch / 256
        return self.lr * {"linear": ratio, "sqrt": math.sqrt(ratio), "none": 1.0}[self.scaling]

    def factor(self, step: int, total: int) -> float:
        """Learning rate of 0-based `step` relative to the peak."""
        warm = round(self.warmup * total)
        if step < warm:
            return (step + 1) / warm
        angle = math.pi * min(1.0, (step - warm) / max(1, total - warm))
        return self.final + (1 - self.final) * (1 + math.cos(angle)) / 2

    def build(self, parts: Iterable[nn.Module], batch: int) -> torch.optim.Optimizer:
        weights = nn.ModuleList(parts)
        options = {"momentum": self.momentum} if self.name in ("sgd", "lars") else {}
        return create_optimizer_v2(
            weights, opt=self.name, lr=self.peak(batch), weight_decay=self.weight_decay, **options, **self.options
        )
