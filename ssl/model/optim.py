"""Optimisers and schedules: timm's optimisers, a learning rate that scales with the batch, warm-up and cosine."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from timm.optim import (
    create_optimizer_v2,  # pyright: ignore[reportPrivateImportUsage]
    param_groups_weight_decay,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import nn

from ..core.errors import UserError
from .muon import SharedMuon, muon_groups

Family = Literal["convolution", "attention"]
PARTS = ("encoder", "predictor", "latent", "loss")


class Optim(NamedTuple):
    """The rule by which weights are updated.

    The peak learning rate is lr · batch / 256 (`scaling="linear"`), lr · √(batch / 256) (`"sqrt"`) or lr (`"none"`),
    batch being all samples of one optimiser step. `lr` may hold one rate for networks of convolutions and one for those
    of attention. The rate rises linearly over the first `warmup` of all steps, stays at its peak until `hold` of all
    steps and falls by a cosine to `final` of the peak; or it falls to `drop` of itself at each of the `milestones`,
    fractions of all steps. The parts named in `constant` (encoder, predictor, latent, loss) keep the peak rate
    throughout. Norms and biases have no decay (and, under LARS, no trust ratio); that of the others goes by a cosine to
    `final_decay` where one is given.
    """

    name: str
    lr: float | Mapping[Family, float]
    weight_decay: float
    momentum: float = 0.9
    scaling: Literal["linear", "sqrt", "none"] = "linear"
    warmup: float = 0.05
    hold: float = 0.0
    final: float = 0.0
    milestones: Sequence[float] = ()
    drop: float = 0.1
    constant: Sequence[str] = ()
    final_decay: float | None = None
    options: dict[str, Any] = {}

    def suited(self, convolutional: bool) -> "Optim":
        """The same with one rate: that of the family of the network."""
        if not isinstance(self.lr, Mapping):
            return self
        if set(self.lr) != {*get_args(Family)}:
            families = " and ".join(get_args(Family))
            raise UserError(f"optim.lr={dict(self.lr)}: give one number, or one each for {families}")
        return self._replace(lr=self.lr["convolution" if convolutional else "attention"])

    def peak(self, batch: int) -> float:
        if isinstance(self.lr, Mapping):
            raise UserError(f"optim.lr={dict(self.lr)} is a rate for each family of networks: give one number here")
        ratio = batch / 256
        return self.lr * {"linear": ratio, "sqrt": math.sqrt(ratio), "none": 1.0}[self.scaling]

    def factor(self, step: int, total: int) -> float:
        """Learning rate of 0-based `step` relative to the peak."""
        warm = round(self.warmup * total)
        if step < warm:
            return (step + 1) / warm
        if self.milestones:
            return self.drop ** sum(step >= milestone * total for milestone in self.milestones)
        falling = max(warm, round(self.hold * total))
        after = min(1.0, max(0, step - falling) / max(1, total - falling))
        return self.final + (1 - self.final) * _cosine(after)

    def factors(self, optimizer: torch.optim.Optimizer, total: int) -> list[Callable[[int], float]]:
        """The factor of every parameter group as a function of the step."""
        schedule = partial(self.factor, total=total)
        return [_one if group["part"] in self.constant else schedule for group in optimizer.param_groups]

    def check(self) -> None:
        if not 0 <= self.hold <= 1:
            raise UserError(f"optim.hold={self.hold}: expected a share of all steps, from 0 to 1")
        if self.hold and self.milestones:
            raise UserError(
                f"optim.hold={self.hold} and optim.milestones={[*self.milestones]} are two schedules: set one"
            )
        if unknown := set(self.constant) - set(PARTS):
            raise UserError(f"optim.constant names {sorted(unknown)}: choose among {', '.join(PARTS)}")

    def build(self, parts: Mapping[str, nn.Module], batch: int) -> torch.optim.Optimizer:
        groups = [
            {**group, "part": name}
            for name, part in parts.items()
            for group in param_groups_weight_decay(part, self.weight_decay)
            if group["params"]
        ]
        return self.over(groups, batch)

    def over(self, groups: list[dict[str, Any]], batch: int) -> torch.optim.Optimizer:
        """The optimiser of these groups of parameters, each of which may have a rate and a decay of its own."""
        options: dict[str, Any] = {"momentum": self.momentum} if self.name in ("sgd", "lars", "muon") else {}
        options |= {"lr": self.peak(batch), "weight_decay": self.weight_decay, **self.options}
        if self.name == "muon":
            return SharedMuon(muon_groups(groups), **options)
        return create_optimizer_v2(groups, opt=self.name, **options)

    def set_decay(self, optimizer: Any, progress: float) -> None:
        """The weight decay at `progress`, for the groups that have one."""
        if self.final_decay is None:
            return
        decay = self.final_decay + (self.weight_decay - self.final_decay) * _cosine(progress)
        for group in optimizer.param_groups:
            if group["weight_decay"]:
                group["weight_decay"] = decay


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _one(step: int) -> float:
    return 1.0
