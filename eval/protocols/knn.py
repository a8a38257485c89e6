"""kNN accuracy."""

import logging
import time
from collections.abc import Iterator, Sequence

from ..ivf import IVF
from ..knn import knn
from ..results import Row
from ..search import search
from ..store import FeatureStore
from .protocol import Protocol, accuracy

log = logging.getLogger(__name__)


class KNN(Protocol):
    """Accuracy of the neighbours' weighted vote, for every k and temperature from one search.

    A `k` that the labelled training rows do not fill is left out, with a warning: under another k the number would be
    another metric.

    Args:
        k: numbers of neighbours.
        temperature: of their votes.
        probes: number of lists of an inverted file to search, for very large banks; None: search exactly.
    """

    def __init__(
        self, k: Sequence[int] = (20, 200), temperature: Sequence[float] = (0.07,), probes: int | None = None
    ) -> None:
        self.k, self.temperature, self.probes = list(k), list(temperature), probes

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        super().check(train, test)
        size = len(train.labelled().label)
        left_out = ", ".join(str(k) for k in self.k if k > size)
        if left_out:
            log.warning("kNN with k=%s is left out: only %d training images have a label", left_out, size)

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        size = len(train.labelled().label)
        ivf = None if self.probes is None else IVF(self.probes, seed)
        started = time.perf_counter()
        predictions = knn(train, test, [k for k in self.k if k <= size], self.temperature, ivf or search)
        seconds = time.perf_counter() - started
        how = {"protocol": "knn-ivf@1", "probes": ivf.probes, "recall": ivf.recall} if ivf else {"protocol": "knn@1"}
        for (k, temperature), prediction in predictions.items():
            setting = {"k": k, "T": temperature, **how, "seconds": seconds}
            yield {"metric": "knn_accuracy", **accuracy(prediction, test), **setting}
