"""Temperatures: a number, or a policy that gives one for a step or for every row of it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...core.errors import UserError
from ...core.step import Step
from .row_state import RowState


class Temperature(nn.Module):
    """A constant temperature, and the contract of the others: `forward(step)` gives one for every row."""

    varies = False  # whether it is worth logging
    adapts = False  # whether `adapt` makes use of the gradient

    def __init__(self, value: float) -> None:
        super().__init__()
        if value <= 0:
            raise UserError(f"temperature={value} divides the cosines: give it a value above 0")
        self.value = value

    def forward(self, step: Step) -> Float[Tensor, " n"]:
        return step.weight.new_full(step.weight.shape, self.value, dtype=next(iter(step.q.values())).dtype)

    def adapt(self, step: Step, gradient: Float[Tensor, " n"]) -> None:
        """Follow the derivative of each row's objective in its own temperature."""


class Scheduled(Temperature):
    """A temperature that goes from `start` to `end` along half a cosine over the first `until` of training."""

    varies = True

    def __init__(self, start: float, end: float, until: float = 1.0) -> None:
        super().__init__(min(start, end))
        if not 0 < until <= 1:
            raise UserError(f"temperature.until={until} is a share of the training: expected 0 < until <= 1")
        self.start, self.end, self.until = start, end, until

    def forward(self, step: Step) -> Float[Tensor, " n"]:
        done = min(1.0, step.progress / self.until)
        value = self.end + (self.start - self.end) * (1 + math.cos(math.pi * done)) / 2
        return super().forward(step) * (value / self.value)


class Learned(Temperature):
    """exp(-a) with a learned, kept within [low, high] (as CLIP's: Radford et al. 2021)."""

    varies = True

    def __init__(self, start: float = 0.1, low: float = 0.01, high: float = 1.0) -> None:
        super().__init__(low)
        if not low <= start <= high:
            raise UserError(f"temperature.start={start} lies outside low={low} to high={high}")
        self.low, self.high = low, high
        self.log_inverse = nn.Parameter(torch.tensor(-math.log(start)))

    def forward(self, step: Step) -> Float[Tensor, " n"]:
        # Clamped without losing the gradient that leads back inside.
        inside = self.log_inverse.clamp(-math.log(self.high), -math.log(self.low))
        a = self.log_inverse + (inside - self.log_inverse).detach()
        return (-a).exp() * torch.ones_like(super().forward(step))


class PerRow(Temperature):
    """One temperature for every training image, by iSogCLR's rule (Qiu et al. 2023).

    With G_i the derivative in τ_i of τ_i log mean_u exp(s_iu/τ_i) + τ_i rho over the negatives u of image i, averaged
    over the queries that show it:

        v_i ← (1 - beta) v_i + beta G_i,    τ_i ← clip(τ_i - eta v_i, low, high)

    At its fixed point the softmax over the negatives is `rho` nats away from uniform: images with many relatives get
    a higher temperature. One float32 entry a training row for τ and for v, the same on every rank.
    """

    varies = adapts = True

    def __init__(
        self,
        rows: int | None = None,
        start: float = 0.1,
        low: float = 0.05,
        high: float = 0.7,
        rho: float = 0.3,
        eta: float = 0.01,
        beta: float = 0.9,
    ) -> None:
        super().__init__(low)
        if not low <= start <= high:
            raise UserError(f"temperature.start={start} lies outside low={low} to high={high}")
        self.low, self.high, self.rho, self.eta, self.beta = low, high, rho, eta, beta
        self.tau, self.v = RowState(rows, start), RowState(rows, 0.0)

    def forward(self, step: Step) -> Float[Tensor, " n"]:
        return self.tau.read(step.row).to(super().forward(step))

    def adapt(self, step: Step, gradient: Float[Tensor, " n"]) -> None:
        gradient = gradient.detach() + self.rho
        self.v.write(step.row, (1 - self.beta) * self.v.read(step.row) + self.beta * gradient)
        tau = self.tau.read(step.row) - self.eta * self.v.read(step.row)
        self.tau.write(step.row, tau.clamp(self.low, self.high))


def temperature_policy(value: float | int | Temperature, adapting: bool = False) -> Temperature:
    """A policy; one that adapts only for a loss that is `adapting`, or it would never move."""
    policy = value if isinstance(value, Temperature) else Temperature(value)
    if policy.adapts and not adapting:
        raise UserError(
            "this loss does not tell a temperature for every row where to go: choose infonce, dcl, supcon, sogclr or "
            "another temperature"
        )
    return policy
