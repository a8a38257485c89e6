"""The calibration of a linear probe."""

import time
from collections.abc import Iterator, Sequence

from torch.nn.functional import pad

from ..features.store import FeatureStore
from ..measures.calibration import expected_calibration_error, temperature
from ..measures.classification import accuracy
from ..probes.linear import RECIPE, trial
from ..reports.results import Row
from .base import Protocol, at_least
from .validate import usable


class Calibration(Protocol):
    """Expected calibration error of a linear probe on test, before and after its logits are divided by a temperature.

    The probe is trained on nine tenths of train; the other tenth, which it has not seen, tells learning rate and
    temperature.

    Args:
        bins: of the confidence.
        layers: one after the other.
    """

    def __init__(self, bins: int = 15, layers: Sequence[str] = ("h",)) -> None:
        at_least(1, bins=bins)
        self.bins, self.layers = bins, layers

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        train, test = usable(train), usable(test)
        heads, held_out, _ = found = trial(train, test, seed, RECIPE, "clean", accuracy)
        t = temperature(heads.scores(held_out.features, found.best), held_out.label)
        logits = heads.scores(test.features, found.best)
        unseen = max(0, int(test.label.max()) + 1 - logits.shape[1])
        logits = pad(logits, (0, unseen), value=-float("inf"))
        about = {"n": len(test.label), "temperature": t, "learning_rate": RECIPE.learning_rates[found.best]}
        how = {"protocol": "calibration@1", "seconds": time.perf_counter() - started}
        for name, scale in (("calibration_error", 1.0), ("calibration_error_scaled", t)):
            value = expected_calibration_error(logits / scale, test.label, self.bins).item()
            yield {"metric": name, "value": value, **about, **how}
