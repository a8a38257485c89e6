"""Classifiers that know a few labelled images."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import normalize

from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..neighbours.knn import knn
from ..probes.label_subsets import number_of_each
from ..probes.logreg import path
from ..probes.nearest_mean import nearest_mean
from ..reports.results import Row
from .base import Protocol
from .measured import repeated
from .validate import usable

PENALTY, TEMPERATURE = 1.0, 0.07  # for features of length 1
Name = Literal["logreg", "knn", "prototype"]


class FewShot(Protocol):
    """Accuracy of a classifier that knows `n_per_class` training images of each class, as a mean over several draws.

    Features are taken to length 1. `low` and `high` are mean ± 1.96 deviations / √tries; `scores` is the share of
    draws in which a test image is told.

    Args:
        n_per_class: how many; a row for each number.
        tries: draws of them, the same for every backbone.
        classifier: logistic regression with λ = 1, kNN with k = n_per_class and T = 0.07, or the nearest class mean.
        layers: one after the other.
    """

    def __init__(
        self,
        n_per_class: Sequence[int] = (1, 2, 4, 8, 16),
        tries: int = 5,
        classifier: Name = "logreg",
        layers: Sequence[str] = ("h",),
    ) -> None:
        if tries < 2 or min(n_per_class, default=0) < 1:
            raise UserError(
                f"few-shot with n_per_class={list(n_per_class)} and tries={tries}: expected 1 image and 2 tries or more"
            )
        self.n_per_class, self.tries, self.layers = list(n_per_class), tries, layers
        self.classifier: Name = classifier

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        super().check(train, test)
        smallest = int(train.label[train.label >= 0].unique(return_counts=True)[1].min())
        if smallest < max(self.n_per_class):
            raise UserError(
                f"{max(self.n_per_class)} images of each class: expected 1 to {smallest}, what the smallest class has"
            )

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        train, test = usable(train), _unit(usable(test))
        for number in self.n_per_class:
            started = time.perf_counter()
            hits = torch.stack([self._hits(train, test, number, seed, draw) for draw in range(self.tries)]).double()
            about = {"n": len(test.label), "tries": self.tries, "scores": (test.row, hits.mean(0).float())}
            how = {"protocol": f"fewshot-{self.classifier}@1", "seconds": time.perf_counter() - started}
            yield {"metric": f"fewshot_{number}_accuracy", **repeated(hits.mean(1)), **about, **how}

    def _hits(self, train: FeatureStore, test: FeatureStore, number: int, seed: int, draw: int) -> Bool[Tensor, " n"]:
        rows = number_of_each(train.label, train.row, number, seed, draw)
        known = _unit(train.take(torch.isin(train.row, rows)))
        return CLASSIFIERS[self.classifier](known, test, number) == test.label


def _unit(store: FeatureStore) -> FeatureStore:
    return store._replace(features=normalize(store.features.float()))


def _logreg(known: FeatureStore, test: FeatureStore, number: int) -> Int[Tensor, " n"]:
    ((_, classifier),) = path(known.features, known.label, [PENALTY], torch.float64)
    return classifier.logits(test.features).argmax(1)


def _knn(known: FeatureStore, test: FeatureStore, number: int) -> Int[Tensor, " n"]:
    (prediction,) = knn(known, test, [number], [TEMPERATURE]).values()
    return prediction


def _prototype(known: FeatureStore, test: FeatureStore, number: int) -> Int[Tensor, " n"]:
    return nearest_mean(known.features, known.label, test.features)


CLASSIFIERS: Mapping[Name, Callable[[FeatureStore, FeatureStore, int], Int[Tensor, " n"]]] = {
    "logreg": _logreg,
    "knn": _knn,
    "prototype": _prototype,
}
