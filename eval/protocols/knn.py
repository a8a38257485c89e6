"""kNN accuracy."""

import logging
import time
from collections.abc import Iterator, Sequence

from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..neighbours.exact import search
from ..neighbours.inverted_file import IVF
from ..neighbours.knn import knn
from ..reports.results import Row
from .base import Protocol, accuracy, at_least
from .validate import usable

log = logging.getLogger(__name__)


class KNN(Protocol):
    """Accuracy of the neighbours' weighted vote, for every k and temperature from one search.

    A `k` that the labelled training rows do not fill is left out, with a warning: under another k the number would be
    another metric.

    Args:
        k: numbers of neighbours.
        temperature: of their votes.
        probes: number of lists of an inverted file to search, for very large banks; None: search exactly.
        layers: one after the other.
    """

    def __init__(
        self,
        k: Sequence[int] = (20, 200),
        temperature: Sequence[float] = (0.07,),
        probes: int | None = None,
        layers: Sequence[str] = ("h",),
    ) -> None:
        at_least(1, k=k, probes=1 if probes is None else probes)
        if min(temperature, default=0) <= 0:
            raise UserError(f"temperature={list(temperature)} divides the cosines: expected numbers above 0")
        self.k, self.temperature, self.probes, self.layers = list(k), list(temperature), probes, layers

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        super().check(train, test)
        size = len(train.labelled().label)
        left_out = ", ".join(str(k) for k in self.k if k > size)
        if left_out and size < min(self.k):
            raise UserError(f"kNN with k={left_out}, but only {size} training images have a label: set k to fewer")
        if left_out:
            log.warning("kNN with k=%s is left out: only %d training images have a label", left_out, size)

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        train, test = usable(train), usable(test)
        ivf = None if self.probes is None else IVF(self.probes, seed)
        ks = [k for k in self.k if k <= len(train.label)]
        predictions = knn(train, test, ks, self.temperature, ivf or search)
        seconds = time.perf_counter() - started
        how = {"protocol": "knn-ivf@1", "probes": ivf.probes, "recall": ivf.recall} if ivf else {"protocol": "knn@1"}
        for (k, temperature), prediction in predictions.items():
            setting = {"k": k, "T": temperature, **how, "seconds": seconds}
            yield {"metric": "knn_accuracy", **accuracy(prediction, test), **setting}
