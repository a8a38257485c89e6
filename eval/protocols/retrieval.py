"""Retrieval of images of the same class."""

import time
from collections.abc import Iterator, Sequence
from typing import Literal

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..neighbours.retrieval import retrieve, same_class
from ..reports.results import Row
from .base import Protocol
from .ranked import means
from .validate import classes, usable


class Retrieval(Protocol):
    """Rankings by cosine of each test image: mean average precision, mAP@R, precision and recall at k.

    The images of a query's class are what is to be found; n counts the queries that have any. `low` and `high` are of
    a bootstrap over queries.

    Args:
        gallery: what is ranked, the other test images or those of train.
        ks: depths of precision and recall.
        queries: at most so many of the test images ask.
        layers: one after the other.
    """

    def __init__(
        self,
        gallery: Literal["test", "train"] = "test",
        ks: Sequence[int] = (1, 5, 10),
        queries: int = 10_000,
        layers: Sequence[str] = ("h",),
    ) -> None:
        if min(ks, default=1) < 1 or queries < 2:
            raise UserError(f"retrieval with ks={list(ks)} of {queries} queries: expected 1 and 2 queries or more")
        self.gallery, self.ks, self.queries, self.layers = gallery, list(ks), queries, layers

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        if self.gallery == "train":
            super().check(train, test)
        else:
            classes(test)

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        test = usable(test)
        some = permutation(mix(seed), len(test.row))[: self.queries].sort().values
        asked = test.take(some)
        gallery, itself = (test, some) if self.gallery == "test" else (usable(train), None)
        found = retrieve(asked.features, gallery.features, same_class(asked.label, gallery.label, itself), self.ks)
        about = {"gallery": len(gallery.row), "protocol": f"retrieval-{self.gallery}@1"}
        about["seconds"] = time.perf_counter() - started
        for row in means("retrieval", found, asked.row, seed):
            yield row | about
