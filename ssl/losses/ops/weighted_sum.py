"""Weighted means of many embeddings, with weights that are never held in memory as a whole."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

Weights = Callable[[slice], Float[Tensor, "rows m"]]  # of some of the n rows


def weighted_sum(
    column: Float[Tensor, "m d"], weights: Weights, n: int, chunk: int
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Σ_j w_ij column_j and Σ_j w_ij for n rows i; the weights are constants, formed `chunk` at a time."""
    return _WeightedSum.apply(column, weights, n, chunk)  # pyright: ignore[reportReturnType]


def _parts(n: int, m: int, chunk: int) -> Iterator[slice]:
    rows = max(1, chunk // max(1, m))
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, column: Tensor, weights: Weights, n: int, chunk: int) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        result, mass = column.new_empty(n, column.shape[1]), column.new_empty(n)
        for part in _parts(n, len(column), chunk):
            weight = weights(part)
            result[part], mass[part] = weight @ column, weight.sum(dim=1)
        ctx.weights, ctx.shape, ctx.chunk = weights, column.shape, chunk
        ctx.mark_non_differentiable(mass)
        return result, mass

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        to_column = gradient.new_zeros(ctx.shape)
        with torch.autocast(gradient.device.type, enabled=False):
            for part in _parts(len(gradient), len(to_column), ctx.chunk):
                to_column.addmm_(ctx.weights(part).T, gradient[part])
        return to_column, None, None, None
