"""Agreement of two views, with a variance and a covariance that forbid collapse."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.step import Step
from .base.batch_loss import BatchLoss
from .ops.products import products

Reduction = Literal["mean", "sum"]


class VICReg(BatchLoss):
    """Variance, invariance and covariance regularisation (Bardes et al. 2022, Eqs. 1-6), over the global batch.

    With z and z' the embeddings (N, D) of two views, and Cov the covariance, divided by N-1:

        loss = invariance · s(z, z') + variance · (v(z) + v(z'))/2 + covariance · (c(z) + c(z'))
        s = mean_nd (z_nd - z'_nd)²,   v = mean_d max(0, 1 - √(Cov_dd + 1e-4)),   c = Σ_{i≠j} Cov_ij² / D

    This is the authors' code, and the default. Their paper has the sum over d in s (`inv_reduction="sum"`) and
    the sum over the two views of v (`var_reduction="sum"`); solo-learn has the latter only.
    """

    def __init__(
        self,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        inv_reduction: Reduction = "mean",
        var_reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        self.inv_reduction, self.var_reduction = inv_reduction, var_reduction

    def pair(
        self, query: Float[Tensor, "n d"], target: Float[Tensor, "n d"], step: Step
    ) -> dict[str, Float[Tensor, ""]]:
        a, b = covariances(query), covariances(target)
        invariance = (query - target).square().mean() * (query.shape[1] if self.inv_reduction == "sum" else 1)
        variance = (deficit(a) + deficit(b)) / (1 if self.var_reduction == "sum" else 2)
        covariance = redundancy(a) + redundancy(b)
        return {
            "loss": self.invariance * invariance + self.variance * variance + self.covariance * covariance,
            "invariance": invariance,
            "variance": variance,
            "covariance": covariance,
        }


def covariances(z: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    centred = z - z.mean(dim=0)
    return products(centred, centred) / max(1, len(z) - 1)


def deficit(covariance: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    """Return how far standard deviations fall short of 1, as a mean over dimensions: v."""
    return (1 - (covariance.diagonal() + 1e-4).sqrt()).relu().mean()


def redundancy(covariance: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    """The sum of the squared covariances of different dimensions, per dimension: c."""
    return (covariance - torch.diag(covariance.diagonal())).square().sum() / len(covariance)
