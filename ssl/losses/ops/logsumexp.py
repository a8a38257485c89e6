"""The log-sum-exp of a matrix product that is never held in memory as a whole, and the mean under its softmax."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 1 << 21  # fits the caches of a processor and still fills a GPU
EMPTY = torch.finfo(torch.float32).min  # the log of an empty sum; finite, since -inf - -inf is NaN

Excluded = Callable[[slice, Float[Tensor, "rows m"]], Bool[Tensor, "rows m"]]  # of rows, and of their similarities


class Moments(NamedTuple):
    """Moments of the similarities s_ij of row i under p_ij ∝ exp(scale_i s_ij), for the j that are left."""

    log_sum: Float[Tensor, " n"]  # log Σ_j exp(scale_i s_ij), `EMPTY` if none is left
    mean: Float[Tensor, " n"]  # Σ_j p_ij s_ij, 0 if none is left
    number: Float[Tensor, " n"]  # of those that are left


def moments(
    query: Float[Tensor, "n d"],
    column: Float[Tensor, "m d"],
    scale: Float[Tensor, " n"],
    excluded: Excluded,
    chunk: int = CHUNK,
    log_sum_only: bool = False,
) -> Moments:
    """Moments of s_ij = query_i · column_j over the columns j that are not excluded for row i.

    The product is formed for as many rows at a time as make `chunk` elements, and formed again in the
    backward pass: beside its inputs and its output it holds O(chunk + m) numbers. With `log_sum_only` the
    other two may be left out, which is quicker.
    """
    return Moments(*_Moments.apply(query, column, scale, excluded, chunk, log_sum_only))  # pyright: ignore[reportGeneralTypeIssues]


def zero_if_empty(log_sum: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return what to add to a loss for an anchor that may have no negatives."""
    return log_sum.masked_fill(log_sum == EMPTY, 0.0)


def _blocks(
    query: Tensor, column: Tensor, scale: Tensor, excluded: Excluded, chunk: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    rows = max(1, chunk // max(1, len(column)))
    for start in range(0, len(query), rows):
        part = slice(start, start + rows)
        similarity = query[part] @ column.T
        yield part, similarity, (similarity * scale[part, None]).masked_fill_(excluded(part, similarity), -torch.inf)


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, query: Tensor, column: Tensor, scale: Tensor, excluded: Excluded, chunk: int, log_sum_only: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        log_sum, mean, count = query.new_zeros(3, len(query)).unbind()
        for part, similarity, logits in _blocks(query, column, scale, excluded, chunk):
            largest = logits.amax(dim=1, keepdim=True).clamp_min_(EMPTY)
            if not log_sum_only:
                count[part] = (logits > -torch.inf).sum(dim=1).to(count)
            share = logits.sub_(largest).exp_()
            sums = share.sum(dim=1)  # at least 1 where any column is left
            if not log_sum_only or ctx.needs_input_grad[2]:
                mean[part] = similarity.mul_(share).sum(dim=1).div_(sums.clamp_min(1))
            log_sum[part] = sums.log_().add_(largest[:, 0]).clamp_min_(EMPTY)
        ctx.save_for_backward(query, column, scale, log_sum, mean)
        ctx.excluded, ctx.chunk = excluded, chunk
        ctx.mark_non_differentiable(count)
        ctx.set_materialize_grads(False)
        return log_sum, mean, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_log_sum: Tensor | None, to_mean: Tensor | None, _: None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, column, scale, log_sum, mean = ctx.saved_tensors
        to_log_sum = torch.zeros_like(log_sum) if to_log_sum is None else to_log_sum
        to_query, to_column = torch.empty_like(query), torch.zeros_like(column) if ctx.needs_input_grad[1] else None
        to_scale = to_log_sum * mean if ctx.needs_input_grad[2] else None
        with torch.autocast(query.device.type, enabled=False):  # the caller's may be on again
            for part, similarity, logits in _blocks(query, column, scale, ctx.excluded, ctx.chunk):
                share = logits.sub_(log_sum[part, None]).exp_()
                # d log_sum = Σ p (scale ds + s dscale)
                slope = (to_log_sum * scale)[part, None]
                if to_mean is not None:  # d mean = Σ p (1 + scale (s - mean)) ds + Var(s) dscale
                    deviation = similarity.sub_(mean[part, None])
                    if to_scale is not None:
                        to_scale[part] += to_mean[part] * (share * deviation.square()).sum(dim=1)
                    slope = slope + to_mean[part, None] * (1 + scale[part, None] * deviation)
                to_similarity = share.mul_(slope)
                to_query[part] = to_similarity @ column
                if to_column is not None:
                    to_column.addmm_(to_similarity.T, query[part])
        return to_query, to_column, to_scale, None, None, None
