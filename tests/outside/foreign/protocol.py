import time
from collections.abc import Iterator
from typing import Any

import torch
from sslab.eval import FeatureStore
from sslab.eval.protocols import Protocol, accuracy


class Centroid(Protocol):
    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[dict[str, Any]]:
        began = time.perf_counter()
        means = torch.stack([train.features[train.label == c].float().mean(0) for c in train.label.unique()])
        found = torch.cdist(test.features.float(), means).argmin(1)
        about = {"protocol": "centroid@1", "seconds": time.perf_counter() - began}
        yield {"metric": "centroid_accuracy", **accuracy(found, test), **about}
