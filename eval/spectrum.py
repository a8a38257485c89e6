"""How many dimensions embeddings use, and how evenly."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..ssl.errors import UserError

EPSILON = 1e-7
CHUNK = 16_384  # rows in float64 at a time


def rankme(z: Float[Tensor, "n d"], centred: bool = False) -> Float[Tensor, ""]:
    """Effective rank exp(−Σ p_k log p_k), p_k = σ_k / Σσ + 1e-7 (Garrido et al., 2023).

    σ are the singular values of z as it is; `centred` takes the mean off first, which a common offset would
    otherwise turn into the one large σ. Readings compare for one layer, one architecture and one n only.
    """
    z = z.double()
    if centred:
        z = z - z.mean(0)
    gram = z.T @ z if len(z) > z.shape[1] else z @ z.T  # in float64 its eigenvalues give σ / σ_1 to 1e-8, below ε
    return entropy_rank(torch.linalg.eigvalsh(gram).clamp(min=0).sqrt())


def entropy_rank(weight: Float[Tensor, " k"]) -> Float[Tensor, ""]:
    """exp(−Σ p_k log p_k), p_k = w_k / Σw + 1e-7, of weights that are not negative."""
    p = weight / weight.sum() + EPSILON
    return (-(p * p.log()).sum()).exp()


def covariance_spectrum(z: Float[Tensor, "n d"]) -> Float[Tensor, " k"]:
    """The eigenvalues of the covariance in falling order, as many as n and d allow; in float64, by chunks of rows."""
    if len(z) <= z.shape[1]:
        z = z.double() - z.double().mean(0)
        return torch.linalg.eigvalsh(z @ z.T).flip(0)[: len(z) - 1].clamp(min=0) / (len(z) - 1)
    return torch.linalg.eigvalsh(covariance(z)).flip(0).clamp(min=0)


def covariance(z: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """In float64, without a copy of all rows."""
    mean = z.mean(0, dtype=torch.float64)
    total = z.new_zeros(z.shape[1], z.shape[1], dtype=torch.float64)
    for chunk in z.split(CHUNK):
        centred = chunk.double() - mean
        total.addmm_(centred.T, centred)
    return total / (len(z) - 1)


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
