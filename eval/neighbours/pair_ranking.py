"""The pairs of all queries in one ranking, as copy detection is scored."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...ssl.core.draws import mix
from ..measures.bootstrap import RESAMPLES, Interval
from .retrieval import JUNK, POSITIVE, Rankings

CELLS = 1 << 22  # counts at a time
LEAST = 0.9  # precision at which recall is read


class Pairs(NamedTuple):
    """Predictions that a gallery image shows what a query shows."""

    query: Int[Tensor, " p"]
    score: Float[Tensor, " p"]
    correct: Bool[Tensor, " p"]


def best(found: Rankings, depth: int | None) -> Pairs:
    """The first `depth` (None: all) of each ranking, without junk."""
    kept = found.relevance != JUNK
    if depth is not None:
        kept &= kept.cumsum(1) <= depth
    query = found.query[:, None].expand_as(kept)
    return Pairs(query[kept], found.cosine[kept], found.relevance[kept] == POSITIVE)


def micro_average_precision(
    score: Float[Tensor, " p"], correct: Bool[Tensor, " p"], positives: int
) -> Float[Tensor, ""]:
    """Σ_k (R_k − R_{k−1}) P_k over the pairs of all queries in one ranking; of equal scores the wrong pairs lead.

    `positives` counts the true pairs, whether they are among the predictions or not.
    """
    precision, hit = _precision(score, correct)
    return precision[hit].sum() / positives


def recall_at_precision(
    score: Float[Tensor, " p"], correct: Bool[Tensor, " p"], positives: int, least: float = LEAST
) -> Float[Tensor, ""]:
    """The largest recall of a threshold on the score with this precision or more."""
    precision, hit = _precision(score, correct)
    return torch.where(precision >= least, hit.cumsum(0), 0).amax() / positives


def micro(pairs: Pairs, positives: Int[Tensor, " q"], seed: int) -> dict[str, Interval]:
    """Micro average precision and recall at a precision of 0.9, with a bootstrap over queries.

    `positives` counts the true pairs of each query. A query is drawn with all its pairs.
    """
    draw = np.random.default_rng(mix(seed))
    n, total = len(positives), int(positives.sum())
    drawn = torch.stack([torch.from_numpy(draw.multinomial(n, np.full(n, 1 / n))).float() for _ in range(RESAMPLES)])
    values = (f(pairs.score, pairs.correct, total) for f in (micro_average_precision, recall_at_precision))
    names = ("micro_ap", f"recall_at_p{LEAST * 100:.0f}")
    bounds = (
        found[found.isfinite()].quantile(torch.tensor([0.025, 0.975])) for found in weighted(pairs, positives, drawn)
    )
    return {
        name: Interval(value.item(), *spread.tolist())
        for name, value, spread in zip(names, values, bounds, strict=True)
    }


def weighted(
    pairs: Pairs, positives: Int[Tensor, " q"], weight: Float[Tensor, "r q"]
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Micro average precision and recall at a precision of 0.9 where query j counts `weight[i, j]` times.

    At the pair of a hit, and that alone is what both depend on, precision is Σ_j w_j H_j / Σ_j w_j T_j with the numbers
    of hits H_j and of pairs T_j of query j down to it.
    """
    order = _order(pairs.score, pairs.correct)
    query, hit = pairs.query[order], pairs.correct[order]
    key = (query * len(query) + torch.arange(len(query))).sort().values  # by query, then by place
    base = torch.arange(len(positives)) * len(query)
    average, hits, recall = (weight.new_zeros(len(weight)) for _ in range(3))
    places = hit.nonzero()[:, 0]
    for place in places.split(max(1, CELLS // max(weight.shape))) if len(places) else ():
        own = weight[:, query[place]]
        found = hits[:, None] + own.cumsum(1)
        above = torch.searchsorted(key, base + place[:, None], right=True) - torch.searchsorted(key, base)
        precision = found / (weight @ above.T.float()).clamp(min=1)
        average += (own * precision).sum(1)
        recall = recall.maximum(torch.where(precision >= LEAST, found, 0).amax(1))
        hits = found[:, -1]
    total = weight @ positives.float()
    return average / total, recall / total


def _precision(
    score: Float[Tensor, " p"], correct: Bool[Tensor, " p"]
) -> tuple[Float[Tensor, " p"], Bool[Tensor, " p"]]:
    """Precision at every place of the ranking, and whether it is a hit."""
    hit = correct[_order(score, correct)]
    return hit.cumsum(0).double() / torch.arange(1, len(hit) + 1), hit


def _order(score: Float[Tensor, " p"], correct: Bool[Tensor, " p"]) -> Int[Tensor, " p"]:
    """Return the order by falling score; of equal ones the wrong first."""
    order = correct.long().argsort(stable=True)
    return order[score[order].argsort(descending=True, stable=True)]
