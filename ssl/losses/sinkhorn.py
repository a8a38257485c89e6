"""Assignments to prototypes that use all of them equally."""

from jaxtyping import Float
from torch import Tensor

from .logsumexp import EMPTY


def sinkhorn(scores: Float[Tensor, "n c"], epsilon: float, iterations: int) -> Float[Tensor, "n c"]:
    """The matrix Q ∝ diag(u) exp(scores / epsilon) diag(v) whose rows sum to 1 and whose columns to n/c (Cuturi 2013).

    Every iteration scales the columns, then the rows: the rows' sums are exact, the columns' in the limit. A row of
    -inf takes no part, and is 0 in Q. Logarithms alone are summed up, so that no score is too large.
    """
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q -= log_q.logsumexp(dim=0)
        log_q -= log_q.logsumexp(dim=1, keepdim=True).clamp_min(EMPTY)
    return log_q.exp()
