"""Accuracy of a linear probe."""

import time
from collections.abc import Iterator

from ..linear import probe
from ..results import Row
from ..store import FeatureStore
from .protocol import Protocol, accuracy


class Linear(Protocol):
    """Accuracy of softmax regression, its learning rate chosen on a tenth of train."""

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        found = probe(train, test, seed)
        setting = {"learning_rate": found.learning_rate, "held_out_accuracy": found.held_out_accuracy}
        score = accuracy(found.prediction, test)
        about = {"protocol": "linear-standardised-clean@1", "seconds": time.perf_counter() - started}
        yield {"metric": "linear_accuracy", **score, **setting, **about}
