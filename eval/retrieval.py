"""Rankings of a gallery by cosine: mean average precision, precision at k, recall at k, micro average precision."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..ssl.errors import UserError
from .search import units

CELLS = 1 << 22  # similarities at a time
POSITIVE, NEGATIVE, JUNK = 1, 0, -1
Relevance = Callable[[Int[Tensor, " b"]], Int[Tensor, "b n"]]  # of every gallery image to these queries


def same_class(query: Int[Tensor, " q"], gallery: Int[Tensor, " n"], itself: Int[Tensor, " q"] | None) -> Relevance:
    """Positive: of the query's class. Junk: unlabelled, and the query where it stands in the gallery."""

    def relevance(rows: Int[Tensor, " b"]) -> Int[Tensor, "b n"]:
        found = (query[rows, None] == gallery).long().masked_fill_(gallery < 0, JUNK)
        return found if itself is None else found.scatter_(1, itself[rows, None], JUNK)

    return relevance


def listed(positive: Sequence[Int[Tensor, " p"]], junk: Sequence[Int[Tensor, " j"]], size: int) -> Relevance:
    """Positives and junk by query, as places in a gallery of `size`; all else is negative."""

    def relevance(rows: Int[Tensor, " b"]) -> Int[Tensor, "b n"]:
        found = torch.full((len(rows), size), NEGATIVE)
        for line, row in zip(found, rows.tolist(), strict=True):
            line[positive[row]] = POSITIVE
            line[junk[row]] = JUNK
        return found

    return relevance


def retrieve(
    queries: Float[Tensor, "q d"], gallery: Float[Tensor, "n d"], relevance: Relevance, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, Float[Tensor, " q"]]:
    """Average precision, precision and recall by query; NaN for a query without a positive.

    Junk leaves the ranking before anything is counted. Of equal similarities the first in the gallery leads.
    """
    chunks = []
    for rows in torch.arange(len(queries)).split(max(1, CELLS // len(gallery))):
        unit = normalize(queries[rows].float())
        cosine = torch.cat([unit @ part.T for part in units(gallery)], 1)
        chunks.append(measure(relevance(rows).gather(1, cosine.argsort(dim=1, descending=True, stable=True)), ks))
    found = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    if found["average_precision"].isnan().all():
        raise UserError("no query has a positive in the gallery: nothing can be retrieved")
    return found


def measure(ranked: Int[Tensor, "b n"], ks: Sequence[int]) -> dict[str, Float[Tensor, " b"]]:
    """The measures of relevances in the order of the ranking.

    Average precision is the trapezoid of Radenović et al. (2018): with the m-th positive at rank r, both from 0,
    Σ_m ½ [(m / r, or 1 where r = 0) + (m + 1) / (r + 1)] / positives. Their precision at k stops at the last positive.
    """
    hit, rank = ranked == POSITIVE, (ranked != JUNK).cumsum(1) - 1
    positives = hit.sum(1).double()
    before = hit.cumsum(1) - 1  # positives that come earlier
    precision = (before + 1) / (rank + 1).double()
    earlier = torch.where(rank == 0, 1, before / rank.double())
    first_r = hit & (rank < positives[:, None])
    found = {
        "average_precision": torch.where(hit, (earlier + precision) / 2, 0).sum(1) / positives,
        "average_precision_at_r": torch.where(first_r, precision, 0).sum(1) / positives,
    }
    last = torch.where(hit, rank + 1, 0).amax(1)
    for k in ks:
        depth = last.clamp(max=k)
        hits = (hit & (rank < depth[:, None])).sum(1).double()
        found |= {f"precision_at_{k}": hits / depth, f"recall_at_{k}": (hits > 0).double() + 0 * hits / depth}
    return found


def micro_average_precision(
    score: Float[Tensor, " p"], correct: Bool[Tensor, " p"], positives: int
) -> Float[Tensor, ""]:
    """Σ_k (R_k − R_{k−1}) P_k over the pairs of all queries in one ranking; of equal scores the wrong pairs lead.

    `positives` counts the true pairs, whether they are among the predictions or not.
    """
    precision, hit = _pooled(score, correct)
    return precision[hit].sum() / positives


def recall_at_precision(
    score: Float[Tensor, " p"], correct: Bool[Tensor, " p"], positives: int, least: float = 0.9
) -> Float[Tensor, ""]:
    """The largest recall of a threshold on the score with this precision or more."""
    precision, hit = _pooled(score, correct)
    return torch.where(precision >= least, hit.cumsum(0), 0).amax() / positives


def _pooled(score: Float[Tensor, " p"], correct: Bool[Tensor, " p"]) -> tuple[Float[Tensor, " p"], Bool[Tensor, " p"]]:
    """Precision at every place of the ranking, and whether it is a hit."""
    order = correct.long().argsort(stable=True)
    order = order[score[order].argsort(descending=True, stable=True)]
    hit = correct[order]
    return hit.cumsum(0).double() / torch.arange(1, len(hit) + 1), hit
