"""The geometry of embeddings on the unit sphere."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def alignment(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """E ‖x − y‖² over positive pairs of unit vectors (Wang and Isola, 2020); 0 is best."""
    return (x - y).square().sum(1).mean()


def uniformity(x: Float[Tensor, "n d"], t: float = 2.0) -> Float[Tensor, ""]:
    """Log mean_{i≠j} exp(−t ‖x_i − x_j‖²) of unit vectors (Wang and Isola, 2020); 0 is collapse."""
    exponent = 2 * t * (x @ x.T - 1)  # ‖x_i − x_j‖² = 2 − 2 x_i·x_j
    exponent.fill_diagonal_(-math.inf)
    return exponent.flatten().logsumexp(0) - math.log(len(x) * (len(x) - 1))


def uniformity_optimum(dim: int, t: float = 2.0) -> float:
    """Return the uniformity of points spread evenly over the sphere: log ₀F₁(; dim/2; t²) − 2t."""
    term = total = 1.0
    for k in range(1, 100):
        term *= t * t / (k * (dim / 2 + k - 1))
        total += term
    return math.log(total) - 2 * t


def tolerance(x: Float[Tensor, "n d"], label: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean cosine of two images of one class (after Wang and Liu, 2021).

    Their expectation runs over all pairs and carries an indicator of the same class, so that it falls with the number
    of classes; this mean runs over pairs of the same class.
    """
    x, label = x[label >= 0].double(), label[label >= 0]
    size = label.bincount().double()
    total = x.new_zeros(len(size), x.shape[1]).index_add_(0, label, x)  # ‖Σx‖² = Σ_i ‖x_i‖² + Σ_{i≠j} x_i·x_j
    return (total.square().sum() - x.square().sum()) / (size * (size - 1)).sum()


def feature_std_ratio(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Standard deviation per dimension of unit vectors, times √d: 1 on the whole sphere, 0 in one point."""
    return x.std(0, correction=0).mean() * math.sqrt(x.shape[1])


def pair_similarities(q: Float[Tensor, "n d"], k: Float[Tensor, "n d"]) -> Float[Tensor, "2"]:
    """Mean cosine of unit vectors in the same row, and in different rows."""
    n, same, all_pairs = len(q), (q * k).sum(), q.sum(0) @ k.sum(0)
    return torch.stack([same / n, (all_pairs - same) / (n * (n - 1))])
