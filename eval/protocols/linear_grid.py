"""Linear probes of all layers."""

import time
from collections.abc import Iterator, Sequence

from ..features.store import FeatureStore
from ..measures.classification import METRICS, Name
from ..probes.held_out import Variant
from ..probes.linear_grid import GRID, best, linear_grid
from ..reports.results import Row
from .base import Protocol
from .measured import measured
from .validate import finite


class LinearGrid(Protocol):
    """Softmax regression for 13 learning rates on every layer: a row for each layer, and one for the best of them.

    Args:
        variant: `published` chooses rate and layer on test, and says so in the protocol's name.
        metric: what is chosen for and what is told.
        layers: among which; None: all.
    """

    layers = None

    def __init__(
        self, variant: Variant = "clean", metric: Name = "accuracy", layers: Sequence[str] | None = None
    ) -> None:
        self.variant: Variant = variant
        self.metric: Name = metric
        self.among = layers

    @property
    def reads(self) -> Sequence[str] | None:
        return self.among

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        train, test = train.labelled(), test.labelled()
        layers = self.among or train.layers
        for layer in layers:
            for store in (train, test):
                finite(store.at(layer))
        probes = linear_grid(train, test, seed, GRID, layers, self.variant, METRICS[self.metric])
        about = {"protocol": f"linear_grid-{self.variant}@1", "seconds": time.perf_counter() - started}
        chosen = best(probes)
        for name, layer in [*(("", layer) for layer in probes), ("best_", chosen)]:
            found = probes[layer]
            held_out = {f"held_out_{self.metric}": found.verdict} if self.variant == "clean" else {}
            how = {"layer": layer, "learning_rate": found.learning_rate, **held_out, **about}
            yield {"metric": f"linear_grid_{name}{self.metric}", **measured(self.metric, found.logits, test), **how}
