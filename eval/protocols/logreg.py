"""Logistic regression."""

import time
from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from ..features.store import FeatureStore
from ..measures.classification import METRICS, Name
from ..probes.held_out import Variant
from ..probes.logreg import PENALTIES, asked_for, logreg
from ..reports.results import Row
from .base import Protocol
from .measured import measured
from .validate import usable


class Logreg(Protocol):
    """Softmax regression to its minimum, the penalty chosen on a tenth of train; features are taken as they are.

    Args:
        penalties: λ of Σ_i CE_i + λ/2 ‖W‖²; None: the 45 values 1 / C of Oquab et al. (2024).
        dtype: of the regression.
        variant: `published` chooses on test, and says so in the protocol's name.
        metric: what is chosen for and what is told.
        layers: one after the other.
    """

    def __init__(
        self,
        penalties: Sequence[float] | None = None,
        dtype: Literal["float64", "float32"] = "float64",
        variant: Variant = "clean",
        metric: Name = "accuracy",
        layers: Sequence[str] = ("h",),
    ) -> None:
        self.penalties = asked_for(penalties, PENALTIES)
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.variant: Variant = variant
        self.metric: Name = metric
        self.layers = layers

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        choice = self.variant, METRICS[self.metric]
        found = logreg(usable(train), usable(test), seed, self.penalties, self.dtype, *choice)
        held_out = {f"held_out_{self.metric}": found.verdict} if self.variant == "clean" else {}
        about = {"penalty": found.penalty, **held_out, "protocol": f"logreg-{self.variant}@1"}
        score = measured(self.metric, found.logits, test)
        yield {"metric": f"logreg_{self.metric}", **score, **about, "seconds": time.perf_counter() - started}
