"""Rankings of a gallery by cosine, query by query: average precision, precision at k, recall at k."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..ssl.errors import UserError

CELLS = 1 << 22  # similarities at a time
POSITIVE, NEGATIVE, JUNK = 1, 0, -1
Relevance = Callable[[Int[Tensor, " b"]], Int[Tensor, "b n"]]  # of every gallery image to these queries


class Rankings(NamedTuple):
    """What some queries have found, the most similar first."""

    query: Int[Tensor, " b"]
    cosine: Float[Tensor, "b n"]
    relevance: Int[Tensor, "b n"]


def same_class(query: Int[Tensor, " q"], gallery: Int[Tensor, " n"], itself: Int[Tensor, " q"] | None) -> Relevance:
    """Positive: of the query's class. Junk: unlabelled, and the query where it stands in the gallery."""

    def relevance(rows: Int[Tensor, " b"]) -> Int[Tensor, "b n"]:
        found = (query[rows, None] == gallery).long().masked_fill_(gallery < 0, JUNK)
        return found if itself is None else found.scatter_(1, itself[rows, None], JUNK)

    return relevance


def listed(positive: Sequence[Int[Tensor, " _"]], junk: Sequence[Int[Tensor, " _"]], size: int) -> Relevance:
    """Positives and junk by query, as places in a gallery of `size`; all else is negative."""

    def relevance(rows: Int[Tensor, " b"]) -> Int[Tensor, "b n"]:
        found = torch.full((len(rows), size), NEGATIVE)
        for line, row in zip(found, rows.tolist(), strict=True):
            line[positive[row]] = POSITIVE
            line[junk[row]] = JUNK
        return found

    return relevance


def among(relevance: Relevance, query: Int[Tensor, " q"], gallery: Int[Tensor, " m"]) -> Relevance:
    """The same, where only these queries and these places of the gallery are left, by their new numbers."""
    return lambda rows: relevance(query[rows])[:, gallery]


def rankings(queries: Float[Tensor, "q d"], gallery: Float[Tensor, "n d"], relevance: Relevance) -> Iterator[Rankings]:
    """Of all queries, a few at a time. Of equal similarities the first in the gallery leads."""
    unit = gallery.to(torch.float32, copy=True)
    normalize(unit, out=unit)
    for rows in torch.arange(len(queries)).split(max(1, CELLS // len(gallery))):
        cosine, order = (normalize(queries[rows].float()) @ unit.T).sort(dim=1, descending=True, stable=True)
        yield Rankings(rows, cosine, relevance(rows).gather(1, order))


def retrieve(
    queries: Float[Tensor, "q d"], gallery: Float[Tensor, "n d"], relevance: Relevance, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, Float[Tensor, " q"]]:
    """Average precision, precision and recall by query; NaN for a query without a positive."""
    return joined([measure(some.relevance, ks) for some in rankings(queries, gallery, relevance)])


def joined(parts: Sequence[dict[str, Float[Tensor, " _"]]]) -> dict[str, Float[Tensor, " q"]]:
    """The measures of all queries."""
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if found["average_precision"].isnan().all():
        raise UserError("no query has a positive in the gallery: nothing can be retrieved")
    return found


def measure(ranked: Int[Tensor, "b n"], ks: Sequence[int]) -> dict[str, Float[Tensor, " b"]]:
    """The measures of relevances in the order of the ranking; junk leaves it before anything is counted.

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
