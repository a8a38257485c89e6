"""Clusters of the test images beside their classes."""

import time
from collections.abc import Iterator, Sequence

from ...ssl.core.draws import mix
from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..measures.clustering import agreement, majority, matched
from ..neighbours.kmeans import spherical_kmeans
from ..reports.results import Row
from .base import Protocol, accuracy, at_least
from .validate import classes, usable


class Cluster(Protocol):
    """The agreement of clusters by spherical k-means with the classes of the test images; train has no part in it.

    Accuracy under the best matching, purity, NMI, AMI and ARI. The intervals of the first two hold for the clusters as
    they are. Metrics of other clusters than one per class have their number in their name.

    Args:
        per_class: clusters for each class.
        restarts: of k-means, the best of which counts.
        iterations: of k-means.
        layers: one after the other.
    """

    def __init__(
        self,
        per_class: Sequence[int] = (1,),
        restarts: int = 10,
        iterations: int = 50,
        layers: Sequence[str] = ("h",),
    ) -> None:
        at_least(1, per_class=per_class, restarts=restarts, iterations=iterations)
        self.per_class, self.layers = list(per_class), layers
        self.restarts, self.iterations = restarts, iterations

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        most, images = max(self.per_class) * len(classes(test)), int((test.label >= 0).sum())
        if most > images:
            raise UserError(f"{most} clusters, but only {images} test images have a label: lower per_class")

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        test = usable(test)
        for per_class in self.per_class:
            started = time.perf_counter()
            k = per_class * len(classes(test))
            cluster = spherical_kmeans(test.features, k, mix(seed), self.iterations, self.restarts)
            found: dict[str, Row] = {
                name: {"value": value, "n": len(cluster)} for name, value in agreement(cluster, test.label).items()
            }
            found["cluster_accuracy"] = accuracy(matched(cluster, test.label), test)
            found["purity"] = accuracy(majority(cluster, test.label), test)
            about = {"clusters": k, "protocol": "cluster@1", "seconds": time.perf_counter() - started}
            suffix = "" if per_class == 1 else f"_of_{k}"
            for name, row in found.items():
                yield {"metric": name + suffix, **row, **about}
