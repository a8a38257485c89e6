"""The share of a number that is the choice of test images: percentile bootstrap over them (Efron, 1979)."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ...ssl.core.draws import mix
from ...ssl.core.errors import UserError

RESAMPLES = 2000
CELLS = 1 << 24  # drawn at a time


class Interval(NamedTuple):
    """A mean, and where it lies for 95 % of the test sets drawn from this one with replacement."""

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """A mean difference with its interval; p: how seldom resampled test sets would turn its sign, two-sided."""

    difference: float
    low: float
    high: float
    p: float


def interval(score: Float[Tensor, " n"], seed: int = 0) -> Interval:
    """Return the interval of one score per test image, such as 1 for a hit and 0 for a miss."""
    low, high = _bootstrap(score, seed).confidence_interval
    return Interval(score.double().mean().item(), float(low), float(high))


def paired(a: Float[Tensor, " n"], b: Float[Tensor, " n"], seed: int = 0) -> Comparison:
    """Return the comparison of two models by a − b, their scores for the same test images in the same order."""
    difference = a.double() - b.double()
    found = _bootstrap(difference, seed)
    low, high = found.confidence_interval
    means = found.bootstrap_distribution
    p = 2 * min((means <= 0).mean(), (means >= 0).mean())
    return Comparison(difference.mean().item(), float(low), float(high), min(1.0, float(p)))


def _bootstrap(score: Float[Tensor, " n"], seed: int) -> Any:
    from scipy.stats import bootstrap  # slow to import, and only needed here

    if len(score) < 2 or not score.isfinite().all():
        raise UserError(f"a bootstrap needs two finite scores or more: got {int(score.isfinite().sum())}/{len(score)}")
    return bootstrap(
        (score.double().numpy(),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, CELLS // len(score)),
        method="percentile",
        rng=np.random.default_rng(mix(seed)),
    )
