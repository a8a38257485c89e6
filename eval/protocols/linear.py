"""A linear probe on standardised features."""

import time
from collections.abc import Iterator, Sequence

from ..features.store import FeatureStore
from ..measures.classification import METRICS, Name
from ..probes.held_out import Variant
from ..probes.linear import RECIPE, probe
from ..reports.results import Row
from .base import Protocol
from .measured import measured
from .validate import usable


class Linear(Protocol):
    """Softmax regression by SGD, its learning rate chosen on a tenth of train.

    Args:
        variant: `published` chooses on test, as it is often done, and says so in the protocol's name.
        metric: what is chosen for and what is told.
        layers: one after the other.
    """

    def __init__(self, variant: Variant = "clean", metric: Name = "accuracy", layers: Sequence[str] = ("h",)) -> None:
        self.variant: Variant = variant
        self.metric: Name = metric
        self.layers = layers

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        found = probe(usable(train), usable(test), seed, RECIPE, self.variant, METRICS[self.metric])
        held_out = {f"held_out_{self.metric}": found.verdict} if self.variant == "clean" else {}
        about = {"learning_rate": found.learning_rate, **held_out, "protocol": f"linear-standardised-{self.variant}@1"}
        score = measured(self.metric, found.logits, test)
        yield {"metric": f"linear_{self.metric}", **score, **about, "seconds": time.perf_counter() - started}
