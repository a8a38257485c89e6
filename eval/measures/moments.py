"""Mean and scatter of features in float64, by chunks of rows: there may be too many for a copy."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

CHUNK = 16_384  # rows in float64 at a time


def mean(x: Float[Tensor, "n d"]) -> Float64[Tensor, " d"]:
    return torch.stack([chunk.double().sum(0) for chunk in x.split(CHUNK)]).sum(0) / len(x)


def scatter(x: Float[Tensor, "n d"], centre: Float64[Tensor, " d"] | None = None) -> Float64[Tensor, "d d"]:
    """Σ_i (x_i − c)ᵀ (x_i − c); without a centre, c = 0."""
    total = x.new_zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for chunk in x.split(CHUNK):
        moved = chunk.double() if centre is None else chunk.double() - centre
        total.addmm_(moved.T, moved)
    return total
