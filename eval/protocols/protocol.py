"""What all protocols share: they turn the features of train and test into rows of results."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from jaxtyping import Int
from torch import Tensor

from ...ssl.errors import UserError
from ..results import Row
from ..store import FeatureStore


class Protocol(ABC):
    """One measurement of frozen features.

    A protocol that is `label_free` looks at train alone and compares within one architecture only: raw pixels, the
    baseline of all others, have no row of it.
    """

    label_free: ClassVar[bool] = False

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        """Refuse what cannot be measured and warn of what is left out; the features may be missing yet."""
        reason = obstacle(train, test)
        if reason and not self.label_free:
            raise UserError(reason)

    @abstractmethod
    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        """Rows of metric, value, n, protocol@version and seconds; the same numbers for the same seed."""


def obstacle(train: FeatureStore, test: FeatureStore) -> str | None:
    """Why nothing that needs labels can be measured, if so."""
    classes = train.label[train.label >= 0].unique()
    if len(classes) == 0:
        return "no training image has a label"
    if len(classes) == 1:
        return f"all labelled training images are of class {classes.item()}"
    if not (test.label >= 0).any():
        return "there are no labelled images to test on"
    return None


def accuracy(prediction: Int[Tensor, " n"], test: FeatureStore) -> dict[str, Any]:
    """Share of hits among the labelled rows, over all and for each class that is there to be tested."""
    from sklearn.metrics import recall_score  # slow to import, and only needed here

    label = test.labelled().label
    value, n = (prediction == label).double().mean().item(), len(label)
    classes = label.unique().tolist()
    each: Any = None  # scikit-learn's word for no average, which its stubs leave out
    recall: Any = recall_score(label, prediction, labels=classes, average=each)
    per_class = {str(c): share for c, share in zip(classes, recall.tolist(), strict=True)}
    return {"value": value, "standard_error": math.sqrt(value * (1 - value) / n), "n": n, "per_class": per_class}
