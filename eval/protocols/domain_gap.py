"""The distance of generated images from real ones, by the features of a backbone."""

import time
from collections.abc import Iterator

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from ..features.extract import Images, extract
from ..features.store import FeatureStore
from ..measures.domain_gap import FOLDS, domain_gap
from ..reports.results import Row
from .base import Subject, Tuning


class DomainGap(Tuning):
    """Distance of the centroids, how well a linear classifier tells the two apart, and RankMe of each.

    Args:
        generated: the generated images; None: there are none, and nothing is measured.
        rows: at most so many real and so many generated images.
    """

    label_free = True

    def __init__(self, generated: Images | None, rows: int = 5000) -> None:
        self.generated, self.rows = generated, rows

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        if self.generated is None:
            raise UserError("there are no generated images")
        fewest = min(len(train.row), len(self.generated))
        if fewest < FOLDS:
            raise UserError(f"a domain gap needs {FOLDS} images or more of each kind, but there are {fewest} of one")

    def __call__(self, subject: Subject, seed: int) -> Iterator[Row]:
        assert self.generated is not None, "check refuses it"
        started = time.perf_counter()
        how = (subject.view, subject.device, subject.batch_size, subject.precision)
        real, generated = (
            extract(subject.backbone, images, *how, permutation(mix(seed, i), len(images))[: self.rows].sort().values)
            for i, images in enumerate((subject.train, self.generated))
        )
        found = domain_gap(real.features.float(), generated.features.float(), seed)._asdict()
        about = {"n": len(real.row) + len(generated.row), "seconds": time.perf_counter() - started}
        for metric, value in found.items():
            yield {"metric": f"gap_{metric}", "value": value, **about, "protocol": "domain-gap@1"}
