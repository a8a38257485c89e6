"""Redundancy reduction in which every pair of dimensions has a temperature of its own."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.step import Step
from .barlow import cross_correlation
from .base.batch_loss import BatchLoss
from .policies.pair_temperature import PairTemperature, named, omega, pair_temperature


class AMCLBarlow(BatchLoss):
    """Adaptive multi-head contrast of dimensions, in the form for Barlow Twins (Wang et al. 2024).

    With C the cross-correlation (D, D) of two views over the global batch, τ the temperature of two dimensions, and
    Ω(τ) = D/2 · ln τ + 1/τ:

        loss = Σ_i [(1 - C_ii/τ_ii)² + beta · Ω(τ_ii)] + Σ_{i≠j} [off_diagonal · C_ij²/τ_ij - beta · Ω(τ_ij)]

    With temperatures of 1 this is Barlow Twins, less a constant. A diagonal is drawn to τ_ii, so temperatures below 1
    make views agree less. By default beta is off_diagonal/D: regularisers that outweigh the correlations, of which
    there are D², drive all temperatures to a bound. Of several heads it is the mean, where the paper has the sum.
    """

    def __init__(
        self,
        temperature: float | int | PairTemperature = 1.0,
        off_diagonal: float = 0.005,
        beta: float | None = None,
    ) -> None:
        super().__init__()
        self.temperature, self.beta = pair_temperature(temperature), beta
        self.off_diagonal = off_diagonal

    def pair(
        self, query: Float[Tensor, "n d"], target: Float[Tensor, "n d"], step: Step
    ) -> dict[str, Float[Tensor, ""]]:
        correlation = cross_correlation(query, target)
        tau = self.temperature(self.temperature.of_correlation(correlation, step.head))
        regulariser = omega(tau, len(tau), self.off_diagonal / len(tau) if self.beta is None else self.beta)
        on = torch.eye(len(tau), dtype=torch.bool, device=tau.device)
        invariance = ((1 - correlation / tau).square() + regulariser)[on].sum()
        redundancy = (self.off_diagonal * correlation.square() / tau - regulariser)[~on].sum()
        return {
            "loss": invariance + redundancy,
            "invariance": invariance,
            "redundancy": redundancy,
            **named("positive", self.temperature.spread(tau[on])),
            **named("negative", self.temperature.spread(tau[~on])),
        }
