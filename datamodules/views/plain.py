"""Views without randomness, as evaluation uses them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from ...ssl.core.step import Batch, Crop, View
from .resample import Interpolation
from .validate import check

Number = float | int


@dataclass(frozen=True)
class Plain:
    """Resize the shorter side, crop a square of `size` from the centre, normalise; every view is the same.

    The square is a share `crop` of the shorter side: 1, or 0.875 as is usual for photographs.
    """

    size: int
    mean: Sequence[Number]
    std: Sequence[Number]
    count: int = 1
    crop: Number = 1.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        check(self)

    @property
    def sides(self) -> set[int]:
        """The sides of all views that it makes, in pixels."""
        return {self.size}

    @property
    def targets(self) -> range:
        """The numbers of the views that are targets if nothing else is said."""
        return range(self.count)

    def __call__(self, batch: Batch) -> tuple[View, ...]:
        return self.some(batch, range(self.count))

    def some(self, batch: Batch, views: Sequence[int]) -> tuple[View, ...]:
        """Return as many views as there are numbers."""
        crop = batch.crops[0] if batch.crops else self._crop(batch.images)
        image = F.normalize(F.to_dtype(crop.image, torch.float32, scale=True), list(self.mean), list(self.std))
        return (View(image, crop.box, torch.zeros_like(batch.key, dtype=torch.bool)),) * len(views)

    def crop_one(self, image: UInt8[Tensor, "3 H W"], key: Int[Tensor, ""], view: int) -> Crop:
        """The same crop for every key and view: for workers."""
        return self._crop(image[None])

    def _crop(self, images: UInt8[Tensor, "b 3 H W"]) -> Crop:
        side = round(self.size / self.crop)
        resized = F.resize(images, [side], InterpolationMode(self.interpolation), antialias=True)
        height, width = resized.shape[2:]
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        box = torch.tensor([left, top, left + self.size, top + self.size], device=images.device)
        box = box / torch.tensor([width, height, width, height], device=images.device)
        return Crop(F.center_crop(resized, [self.size, self.size]), box.expand(len(images), 4))
