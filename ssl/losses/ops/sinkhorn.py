"""Assignments to prototypes that use all of them equally."""

import torch
from jaxtyping import Float
from torch import Tensor

from .logsumexp import EMPTY


def sinkhorn(scores: Float[Tensor, "n c"], epsilon: float, iterations: int) -> Float[Tensor, "n c"]:
    """The matrix Q ∝ diag(u) exp(scores / epsilon) diag(v) whose rows sum to 1 and whose columns to n/c (Cuturi 2013).

    Every iteration scales the columns, then the rows: the rows' sums are exact, the columns' in the limit. A row of
    -inf takes no part, and is 0 in Q. The first columns are summed as logarithms; from then on entries are relative to
    the largest of their row, which the rows' scaling takes out again. So no score is too large.
    """
    logits = scores * (1 / epsilon)  # a product takes half the time of a quotient
    logits -= logits.logsumexp(dim=0)
    q = logits.sub_(logits.amax(dim=1, keepdim=True).clamp_min(EMPTY)).exp_()
    tiny = torch.finfo(q.dtype).tiny
    q *= 1 / q.sum(dim=1, keepdim=True).clamp_min(tiny)
    for _ in range(iterations - 1):
        q *= 1 / q.sum(dim=0).clamp_min(tiny)
        q *= 1 / q.sum(dim=1, keepdim=True).clamp_min(tiny)
    return q
