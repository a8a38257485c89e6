"""The dimensions that tell images apart beyond what random views of one image scatter."""

import time
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from ..features.extract import PlainView, extract
from ..features.random_views import keyed
from ..features.store import FeatureStore
from ..measures.geometry import tolerance
from ..measures.lidar import lidar
from ..reports.results import Row
from .base import Subject, Tuning

ROWS, VIEWS = range(2)  # keep these uses of a seed apart


class LiDAR(Tuning):
    """LiDAR of several random views of some training images, and the alignment of these views.

    Alignment is E ‖x − x⁺‖² over all pairs of views of one image, on unit vectors. LiDAR is at most images − 1, so
    the number of images is never another than asked for. Thilak et al. (2024) take about 1000 images of 50 views.

    Args:
        views: they get the size and the normalisation of the plain view.
        images: how many.
        per_image: views of each.
        delta: what is added to the variance of views.
    """

    label_free = True

    def __init__(self, views: PlainView, images: int = 300, per_image: int = 16, delta: float = 1e-4) -> None:
        if images < 2 or per_image < 2 or delta < 0:
            raise UserError(
                f"LiDAR of {images} images with {per_image} views each and delta {delta}: expected two images or more, "
                "two views or more and a delta of 0 or more"
            )
        self.views, self.images, self.per_image, self.delta = views, images, per_image, delta

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        if len(train.row) < self.images:
            raise UserError(
                f"LiDAR is to see {self.images} images, but train has {len(train.row)}: set images to fewer"
            )

    def __call__(self, subject: Subject, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        z, image = self.seen(subject, seed)
        measured = {
            "lidar": lidar(z, image, self.delta),
            "alignment": 2 - 2 * tolerance(normalize(z.double()), image),  # ‖x − x⁺‖² = 2 − 2 x·x⁺
        }
        seconds = time.perf_counter() - started
        about = {"n": len(z), "images": len(image.unique()), "views": self.per_image, "layer": "h", "seconds": seconds}
        for metric, value in measured.items():
            yield {"metric": metric, "value": float(value), **about, "protocol": f"{metric}@1"}

    def seen(self, subject: Subject, seed: int) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
        """The features of all views, and the number of the image that each is of."""
        rows = permutation(mix(seed, ROWS), len(subject.train))[: self.images].sort().values
        features = []
        for number in range(self.per_image):
            view = keyed(self.views, subject.view, mix(seed, VIEWS, number))
            how = (subject.device, subject.batch_size, subject.precision)
            store = extract(subject.backbone, subject.train, view, *how, rows)
            rows = store.row  # those that can be read
            features.append(store.features.float())
        return torch.cat(features), torch.arange(len(rows)).repeat(self.per_image)
