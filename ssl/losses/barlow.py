"""Redundancy reduction: two views have the identity as their cross-correlation."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import batch_norm

from ..core.step import Step
from .base.batch_loss import BatchLoss
from .ops.products import products


class BarlowTwins(BatchLoss):
    """Correlates every dimension with itself across views, and with no other one (Zbontar et al. 2021, Eq. 1).

    With C the cross-correlation (D, D) of the dimensions of two views over the global batch:

        loss = scale · (Σ_i (1 - C_ii)² + off_diagonal · Σ_{i≠j} C_ij²)

    Dimensions are standardised as by a batch norm: with the biased variance, and 1e-5 added to it.
    """

    def __init__(self, off_diagonal: float = 0.0051, scale: float = 1.0) -> None:
        super().__init__()
        self.off_diagonal, self.scale = off_diagonal, scale

    def pair(
        self, query: Float[Tensor, "n d"], target: Float[Tensor, "n d"], step: Step
    ) -> dict[str, Float[Tensor, ""]]:
        correlation = cross_correlation(query, target)
        on_diagonal = correlation.diagonal()
        invariance = (1 - on_diagonal).square().sum()
        redundancy = (correlation - torch.diag(on_diagonal)).square().sum()
        return {
            "loss": self.scale * (invariance + self.off_diagonal * redundancy),
            "invariance": invariance,
            "redundancy": redundancy,
        }


def cross_correlation(query: Float[Tensor, "n d"], target: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    a, b = (batch_norm(z, None, None, training=True) for z in (query, target))
    return products(a, b) / len(a)
