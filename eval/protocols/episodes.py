"""Few-shot tasks with new classes."""

import logging
import time
from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import normalize

from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..probes.nearest_mean import episodes
from ..reports.results import Row
from .base import Protocol
from .measured import repeated
from .validate import classes, usable

log = logging.getLogger(__name__)


class Episodes(Protocol):
    """Mean accuracy of the nearest class mean over tasks drawn from the test images; train has no part in it.

    A number of shots for which too few classes have enough images is left out, with a warning. `low` and `high` are
    mean ± 1.96 deviations / √episodes; `scores` has one for each episode.

    Args:
        ways: classes of a task.
        shots: images per class that tell it.
        queries: images per class to be told.
        episodes: how many tasks.
        normalise: whether features are taken to length 1 first.
        layers: one after the other.
    """

    def __init__(
        self,
        ways: int = 5,
        shots: Sequence[int] = (1, 5, 20),
        queries: int = 15,
        episodes: int = 600,
        normalise: bool = False,
        layers: Sequence[str] = ("h",),
    ) -> None:
        if ways < 2 or min(shots, default=0) < 1 or queries < 1 or episodes < 2:
            raise UserError(
                f"{episodes} episodes of {ways} ways, {list(shots)} shots and {queries} queries: expected 2 episodes, "
                "2 ways, 1 shot and 1 query or more"
            )
        self.ways, self.shots, self.queries, self.episodes = ways, list(shots), queries, episodes
        self.normalise, self.layers = normalise, layers

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        found = len(classes(test))
        if found < self.ways:
            raise UserError(f"{self.ways} ways, but the test images are of {found} classes")
        left_out = [shots for shots in self.shots if shots not in self._feasible(test)]
        if left_out:
            names = ", ".join(map(str, left_out))
            log.warning("episodes with shots=%s are left out: too few classes have as many images", names)

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        test = usable(test)
        for shots in self._feasible(test):
            started = time.perf_counter()
            x = normalize(test.features.float()) if self.normalise else test.features
            score = episodes(x, test.label, self.ways, shots, self.queries, self.episodes, seed)
            about = {"n": len(score), "scores": (torch.arange(len(score)), score.float()), "protocol": "episodes@1"}
            setting = {"queries": self.queries, "seconds": time.perf_counter() - started}
            yield {"metric": f"{self.ways}_way_{shots}_shot_accuracy", **repeated(score), **about, **setting}

    def _feasible(self, test: FeatureStore) -> list[int]:
        size = test.label[test.label >= 0].bincount()
        return [shots for shots in self.shots if (size >= shots + self.queries).sum() >= self.ways]
