"""Rank and spread of the features of train."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..measures.geometry import feature_std_ratio, tolerance, uniformity, uniformity_optimum
from ..measures.spectrum import alpha_req, covariance_spectrum, participation_ratio, rankme
from ..reports.results import Row
from .base import Protocol, at_least
from .validate import finite

Measure = Callable[[], Row]
log = logging.getLogger(__name__)


class Geometry(Protocol):
    """RankMe, α-ReQ, participation ratio, uniformity and spread, and with labels tolerance.

    They differ between backbone and head by design, so both have rows. What is no number for these features is left
    out, with a warning.

    Args:
        rank_rows: at most so many rows enter the spectra.
        pair_rows: at most so many of them enter what looks at pairs.
        layers: one after the other.
    """

    label_free = True

    def __init__(self, rank_rows: int = 25_600, pair_rows: int = 4096, layers: Sequence[str] = ("h", "z")) -> None:
        at_least(2, rank_rows=rank_rows, pair_rows=pair_rows)
        self.rank_rows, self.pair_rows, self.layers = rank_rows, pair_rows, layers

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        if len(train.row) < 2:
            raise UserError(f"geometry needs two training images or more: there are {len(train.row)}")
        store = finite(train.take(permutation(mix(seed), len(train.row))[: self.rank_rows]))
        few = store.take(torch.arange(len(store.row))[: self.pair_rows])
        for part, measures in ((store, _spectra(store.features)), (few, _pairs(few))):
            for metric, measure in measures.items():
                started = time.perf_counter()
                row = _attempt(metric, measure)
                if row:
                    about = {"n": len(part.row), "protocol": f"{metric}@1", "seconds": time.perf_counter() - started}
                    yield {"metric": metric, **row, **about}


def _spectra(z: Float[Tensor, "n d"]) -> dict[str, Measure]:
    eigenvalue = cache(lambda: covariance_spectrum(z))
    return {
        "rankme": lambda: {"value": float(rankme(z))},
        "rankme_centred": lambda: {"value": float(rankme(z, centred=True))},
        "participation_ratio": lambda: {"value": float(participation_ratio(eigenvalue()))},
        "alpha_req": lambda: dict(zip(("value", "r_squared"), alpha_req(eigenvalue()), strict=True)),
    }


def _pairs(store: FeatureStore) -> dict[str, Measure]:
    x = normalize(store.features.float())
    found: dict[str, Measure] = {
        "uniformity": lambda: {"value": float(uniformity(x))},
        "uniformity_gap": lambda: {"value": float(uniformity(x)) - uniformity_optimum(x.shape[1])},
        "feature_std_ratio": lambda: {"value": float(feature_std_ratio(x))},
    }
    if (store.label >= 0).any():
        found["tolerance"] = lambda: {"value": float(tolerance(x, store.label))}
    return found


def _attempt(metric: str, measure: Measure) -> Row | None:
    """Return the row of a measure, if it can be taken."""
    try:
        row = measure()
    except UserError as reason:
        log.warning("%s is left out: %s", metric, reason)
        return None
    if not math.isfinite(row["value"]):
        log.warning("%s is left out: it is no number for these features", metric)
        return None
    return row
