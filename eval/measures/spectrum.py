"""The number of dimensions that embeddings use, and how evenly."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...ssl.core.errors import UserError
from .moments import mean, scatter

EPSILON = 1e-7


def rankme(z: Float[Tensor, "n d"], centred: bool = False) -> Float[Tensor, ""]:
    """Effective rank exp(−Σ p_k log p_k), p_k = σ_k / Σσ + 1e-7 (Garrido et al., 2023).

    σ are the singular values of z as it is; `centred` takes the mean off first, which a common offset would
    otherwise turn into the one large σ. Readings compare for one layer, one architecture and one n only.
    """
    return entropy_rank(_squares(z, centred).sqrt())  # in float64 σ / σ_1 is right to 1e-8, below ε


def entropy_rank(weight: Float[Tensor, " k"]) -> Float[Tensor, ""]:
    """exp(−Σ p_k log p_k), p_k = w_k / Σw + 1e-7, of weights that are not negative."""
    p = weight / weight.sum() + EPSILON
    return (-(p * p.log()).sum()).exp()


def covariance_spectrum(z: Float[Tensor, "n d"]) -> Float[Tensor, " k"]:
    """The eigenvalues of the covariance in falling order, as many as n and d allow."""
    return _squares(z, centred=True)[: len(z) - 1] / (len(z) - 1)


def _squares(z: Float[Tensor, "n d"], centred: bool) -> Float[Tensor, " k"]:
    """The squared singular values in falling order, from the smaller of the two products of z with itself."""
    centre = mean(z) if centred else None
    if len(z) > z.shape[1]:
        product = scatter(z, centre)
    else:
        z = z.double() if centre is None else z.double() - centre
        product = z @ z.T
    return torch.linalg.eigvalsh(product).flip(0).clamp(min=0)


def participation_ratio(eigenvalue: Float[Tensor, " k"]) -> Float[Tensor, ""]:
    """(Σλ)² / Σλ²: the number of dimensions that share the variance evenly."""
    return eigenvalue.sum().square() / eigenvalue.square().sum()


class PowerLaw(NamedTuple):
    """A fit λ_i ∝ i^−α, and the share of the variance of log λ that it explains."""

    alpha: float
    r_squared: float


def alpha_req(eigenvalue: Float[Tensor, " k"], first: int = 11, last: int = 100) -> PowerLaw:
    """Decay of the eigenvalues first to last of the covariance, in falling order (α-ReQ; Agrawal et al., 2022).

    Least squares of log λ_i on log i with weights 1 / i. About 1 is best: below it the spectrum is flat, above it few
    dimensions are used.
    """
    if len(eigenvalue) < last or eigenvalue[last - 1] <= 1e-12 * eigenvalue[0]:
        raise UserError(f"α-ReQ reads the eigenvalues {first} to {last}, but the features have a lower rank")
    i = torch.arange(first, last + 1, dtype=torch.float64)
    x, y, weight = i.log(), eigenvalue[first - 1 : last].double().log(), 1 / i / (1 / i).sum()
    dx, dy = x - weight @ x, y - weight @ y
    slope = (weight @ (dx * dy)) / (weight @ dx.square())
    left = weight @ (dy - slope * dx).square()
    return PowerLaw(-slope.item(), 1 - (left / (weight @ dy.square())).item())
