"""Rank and spread of the features of train."""

import time
from collections.abc import Iterator

from torch.nn.functional import normalize

from ...ssl.draws import mix, permutation
from ..geometry import uniformity, uniformity_optimum
from ..results import Row
from ..spectrum import rankme
from ..store import FeatureStore
from .protocol import Protocol


class Geometry(Protocol):
    """RankMe and uniformity, which need no label.

    Args:
        rank_rows: at most so many rows enter RankMe.
        pair_rows: at most so many of them enter uniformity.
    """

    label_free = True

    def __init__(self, rank_rows: int = 25_600, pair_rows: int = 4096) -> None:
        self.rank_rows, self.pair_rows = rank_rows, pair_rows

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        z = train.features[permutation(mix(seed), len(train.row))[: self.rank_rows]]
        few = normalize(z[: self.pair_rows])
        for metric, measure, n in (
            ("rankme", lambda: rankme(z), len(z)),
            ("rankme_centred", lambda: rankme(z, centred=True), len(z)),
            ("uniformity", lambda: uniformity(few), len(few)),
            ("uniformity_gap", lambda: uniformity(few) - uniformity_optimum(few.shape[1]), len(few)),
        ):
            started = time.perf_counter()
            row = {"metric": metric, "value": float(measure()), "n": n, "protocol": f"{metric}@1"}
            yield {**row, "seconds": time.perf_counter() - started}
