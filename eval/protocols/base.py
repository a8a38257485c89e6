"""The base of all protocols: they turn frozen features, or a backbone and images, into rows of results."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ...ssl.core.errors import UserError
from ..features.extract import Images, PlainView
from ..features.store import FeatureStore
from ..reports.results import Row


class Protocol(ABC):
    """One measurement of frozen features.

    A protocol that is `label_free` looks at train alone and compares within one architecture only: raw pixels, the
    baseline of all others, have no row of it.
    """

    label_free: ClassVar[bool] = False
    layers: Sequence[str] | None = ("h",)  # that it is asked for, one after the other; None: all of them at once

    @property
    def reads(self) -> Sequence[str] | None:
        """The layers that it is asked for by name; None: all, whatever they are."""
        return self.layers

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        """Refuse what cannot be measured and warn of what is left out; the features may be missing yet."""
        reason = obstacle(train, test)
        if reason and not self.label_free:
            raise UserError(reason)

    @abstractmethod
    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        """Rows of metric, value, n, protocol@version and seconds; the same numbers for the same seed."""


class Subject(NamedTuple):
    """A backbone, what it is to be measured on, and how it sees that."""

    backbone: nn.Module  # on `device`; to be copied by whoever trains it
    train: Images
    test: Images | None
    view: PlainView  # the un-augmented view
    device: torch.device
    batch_size: int  # images per pass without gradients
    precision: str  # as Lightning names it


class Tuning(ABC):
    """One measurement for which features without augmentation are not enough."""

    label_free: ClassVar[bool] = False

    @property
    def reads(self) -> Sequence[str] | None:
        """The layers that it is asked for by name."""
        return ("h",)

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        """Refuse what cannot be measured; nothing but features is known by then."""
        reason = obstacle(train, test)
        if reason and not self.label_free:
            raise UserError(reason)

    @abstractmethod
    def __call__(self, subject: Subject, seed: int) -> Iterator[Row]:
        """Rows of metric, value, n, protocol@version and seconds; the same numbers for the same seed."""


def at_least(least: int, **settings: int | Sequence[int]) -> None:
    """Refuse a setting, or any of its values, that is smaller; and none at all."""
    for name, given in settings.items():
        if min([given] if isinstance(given, int) else given, default=least - 1) < least:
            raise UserError(f"{name}={given}: expected {least} or more")


def obstacle(train: FeatureStore, test: FeatureStore) -> str | None:
    """Return why nothing that needs labels can be measured, if so."""
    classes = train.label[train.label >= 0].unique()
    if len(classes) == 0:
        return "no training image has a label"
    if len(classes) == 1:
        return f"all labelled training images are of class {classes.item()}"
    if not (test.label >= 0).any():
        return "there are no labelled images to test on"
    return None


def accuracy(prediction: Int[Tensor, " n"], test: FeatureStore) -> Row:
    """Share of hits among the labelled rows, over all and for each class that is there to be tested.

    `low` and `high` bound 95 % of the shares in test sets drawn from this one with replacement: hits and misses so
    drawn are binomial. `scores` are the hits themselves, by which two models are compared image by image.
    """
    from scipy.stats import binom
    from sklearn.metrics import recall_score  # slow to import, and only needed here

    test = test.labelled()
    hit = prediction == test.label
    value, n = hit.double().mean().item(), len(hit)
    low, high = (float(bound) / n for bound in binom.ppf((0.025, 0.975), n, value))
    classes = test.label.unique().tolist()
    each: Any = None  # scikit-learn's word for no average, which its stubs leave out
    recall: Any = recall_score(test.label, prediction, labels=classes, average=each)
    per_class = {str(c): share for c, share in zip(classes, recall.tolist(), strict=True)}
    spread = {"standard_error": math.sqrt(value * (1 - value) / n), "low": low, "high": high}
    return {"value": value, **spread, "n": n, "per_class": per_class, "scores": (test.row, hit.float())}
