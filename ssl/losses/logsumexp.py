"""The log-sum-exp of a matrix product that is never held in memory as a whole."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 1 << 21  # fits the caches of a processor and still fills a GPU
EMPTY = torch.finfo(torch.float32).min  # the log of an empty sum; finite, since -inf - -inf is NaN


def log_sum_exp(
    query: Float[Tensor, "n d"],
    column: Float[Tensor, "m d"],
    excluded: Callable[[slice], Bool[Tensor, "rows m"]],
    chunk: int = CHUNK,
) -> Float[Tensor, " n"]:
    """Log Σ_j exp(query_i · column_j) over the columns j that are not excluded for row i, `EMPTY` if none is left.

    The product is formed for as many rows at a time as make `chunk` elements, and formed again in the
    backward pass: beside its inputs and its output it holds O(chunk + m) numbers.
    """
    return _LogSumExp.apply(query, column, excluded, chunk)  # pyright: ignore[reportReturnType]


def zero_if_empty(log_sum: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """What to add to a loss for an anchor that may have no negatives."""
    return log_sum.masked_fill(log_sum == EMPTY, 0.0)


def _blocks(query: Tensor, column: Tensor, excluded: Callable, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    rows = max(1, chunk // len(column))
    for start in range(0, len(query), rows):
        part = slice(start, start + rows)
        yield part, (query[part] @ column.T).masked_fill_(excluded(part), -torch.inf)


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, column: Tensor, excluded: Callable, chunk: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        result = query.new_empty(len(query))
        for part, logits in _blocks(query, column, excluded, chunk):
            largest = logits.amax(dim=1, keepdim=True).clamp_min_(EMPTY)
            sums = logits.sub_(largest).exp_().sum(dim=1)
            result[part] = sums.log_().add_(largest[:, 0]).clamp_min_(EMPTY)
        ctx.save_for_backward(query, column, result)
        ctx.excluded, ctx.chunk = excluded, chunk
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, column, result = ctx.saved_tensors
        to_query = torch.empty_like(query)
        to_column = torch.zeros_like(column) if ctx.needs_input_grad[1] else None
        with torch.autocast(query.device.type, enabled=False):  # the caller's may be on again
            for part, logits in _blocks(query, column, ctx.excluded, ctx.chunk):
                softmax = logits.sub_(result[part, None]).exp_().mul_(gradient[part, None])
                to_query[part] = softmax @ column
                if to_column is not None:
                    to_column.addmm_(softmax.T, query[part])
        return to_query, to_column, None, None
