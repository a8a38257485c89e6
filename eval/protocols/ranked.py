"""Measures of rankings as rows of results."""

from collections.abc import Iterator, Mapping

from jaxtyping import Float, Int
from torch import Tensor

from ..measures.bootstrap import interval
from ..reports.results import Row

NAMES = {"average_precision": "map", "average_precision_at_r": "map_at_r"}


def means(kind: str, found: Mapping[str, Float[Tensor, " q"]], row: Int[Tensor, " q"], seed: int) -> Iterator[Row]:
    """Return the mean of each measure over the queries that have a positive, with a bootstrap over them."""
    for name, score in found.items():
        counted = ~score.isnan()
        value, low, high = interval(score[counted], seed)
        spread = {"value": value, "low": low, "high": high, "n": int(counted.sum())}
        yield {"metric": f"{kind}_{NAMES.get(name, name)}", **spread, "scores": (row[counted], score[counted].float())}
