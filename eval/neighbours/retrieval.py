"""Rankings of a gallery by cosine, query by query: average precision, precision at k, recall at k."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor
from torch.nn.functional import normalize

from ...ssl.core.errors import UserError

CELLS = 1 << 20  # similarities at a time
POSITIVE, NEGATIVE, JUNK = 1, 0, -1
Relevance = Callable[[Int[Tensor, " b"]], Int8[Tensor, "b n"]]  # of every gallery image to these queries


class Rankings(NamedTuple):
    """The images that some queries have found, the most similar first."""

    query: Int[Tensor, " b"]
    cosine: Float[Tensor, "b n"]
    relevance: Int8[Tensor, "b n"]


def same_class(query: Int[Tensor, " q"], gallery: Int[Tensor, " n"], itself: Int[Tensor, " q"] | None) -> Relevance:
    """Positive: of the query's class. Junk: unlabelled, and the query where it stands in the gallery."""

    def relevance(rows: Int[Tensor, " b"]) -> Int8[Tensor, "b n"]:
        found = (query[rows, None] == gallery).to(torch.int8).masked_fill_(gallery < 0, JUNK)
        return found if itself is None else found.scatter_(1, itself[rows, None], JUNK)

    return relevance


def listed(positive: Sequence[Int[Tensor, " _"]], junk: Sequence[Int[Tensor, " _"]], size: int) -> Relevance:
    """Positives and junk by query, as places in a gallery of `size`; all else is negative."""

    def relevance(rows: Int[Tensor, " b"]) -> Int8[Tensor, "b n"]:
        found = torch.full((len(rows), size), NEGATIVE, dtype=torch.int8)
        for line, row in zip(found, rows.tolist(), strict=True):
            line[positive[row]] = POSITIVE
            line[junk[row]] = JUNK
        return found

    return relevance


def among(relevance: Relevance, query: Int[Tensor, " q"], gallery: Int[Tensor, " m"]) -> Relevance:
    """The same, where only these queries and these places of the gallery are left, by their new numbers."""
    return lambda rows: relevance(query[rows])[:, gallery]


def rankings(queries: Float[Tensor, "q d"], gallery: Float[Tensor, "n d"], relevance: Relevance) -> Iterator[Rankings]:
    """Return the rankings of all queries, a few at a time. Of equal similarities the first in the gallery leads."""
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
    query, place = (ranked == POSITIVE).nonzero(as_tuple=True)  # of all positives, as they are ranked
    positives = query.bincount(minlength=len(ranked))
    m = torch.arange(len(query)) - (positives.cumsum(0) - positives)[query]
    r = (ranked != JUNK).cumsum(1, dtype=torch.int32)[query, place].double() - 1

    def sums(value: Tensor) -> Float[Tensor, " b"]:
        return torch.zeros(len(ranked), dtype=torch.float64).index_add_(0, query, value.double())

    precision, earlier = (m + 1) / (r + 1), torch.where(r == 0, 1, m / r)
    found = {
        "average_precision": sums((earlier + precision) / 2) / positives,
        "average_precision_at_r": sums(precision.where(r < positives[query], 0)) / positives,
    }
    last = torch.zeros(len(ranked), dtype=torch.float64).scatter_reduce(0, query, r + 1, "amax")
    for k in ks:
        depth = last.clamp(max=k)
        hits = sums(r < depth[query])
        found |= {f"precision_at_{k}": hits / depth, f"recall_at_{k}": (hits > 0).double() + 0 * hits / depth}
    return found
