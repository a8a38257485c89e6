"""Logits as a row of results, under the metric that is asked for."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..features.store import FeatureStore
from ..measures.classification import METRICS, Name, class_weighted
from ..reports.results import Row
from .base import accuracy

RESAMPLES = 2000


def measured(metric: Name, logits: Float[Tensor, "n c"], test: FeatureStore) -> Row:
    """The metric on the labelled rows, and what is known of its spread."""
    test = test.labelled()
    prediction = logits.argmax(1)
    row = accuracy(prediction, test)
    if metric == "accuracy":
        return row
    value, n, per_class = METRICS[metric](logits, test.label), row["n"], row["per_class"]
    if metric == "voc_map":
        return {"value": value, "n": n}
    size = test.label.unique(return_counts=True)[1].numpy()
    means = _resampled(np.array(list(per_class.values())), size)
    low, high = map(float, np.quantile(means, (0.025, 0.975)))
    spread = {"standard_error": float(means.std()), "low": low, "high": high}
    weighted = class_weighted(prediction == test.label, test.label).float()
    return {"value": value, **spread, "n": n, "per_class": per_class, "scores": (test.row, weighted)}


def repeated(score: Float[Tensor, " n"]) -> Row:
    """The mean of independent trials; `low` and `high` are 1.96 of its deviations below and above."""
    value, error = score.mean().item(), score.std().item() / len(score) ** 0.5
    return {"value": value, "standard_error": error, "low": value - 1.96 * error, "high": value + 1.96 * error}


def _resampled(share: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Means over classes of the shares of hits, in test sets drawn with replacement from each class by itself."""
    return (np.random.default_rng(0).binomial(size, share, (RESAMPLES, len(size))) / size).mean(1)
