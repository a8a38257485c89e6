"""The pictures behind a batch whose crops workers have taken."""

from jaxtyping import UInt8
from torch import Tensor, stack
from torchvision.transforms.v2.functional import resize

from ...ssl.core.step import Batch
from ..reading.images import BadImage, ImageSet
from ..sources.partners import Partners

SIDE = 192  # in pixels


def pictured(batch: Batch, images: ImageSet, partners: Partners | None, count: int) -> Batch:
    """The batch with its first images at hand, and their partners, each stretched to a square if they were not."""
    if batch.images.numel():
        return batch
    row = batch.row[:count].tolist()
    batch = batch._replace(images=stack([_square(images.read(r)) for r in row]))
    if partners is None:
        return batch
    beside = [_partner(partners, r) for r in row]
    return batch._replace(partner=stack([own if b is None else b for own, b in zip(batch.images, beside, strict=True)]))


def _partner(partners: Partners, row: int) -> UInt8[Tensor, "3 side side"] | None:
    try:
        partner = partners.read(row)
    except BadImage:
        return None
    return partner if partner is None else _square(partner)


def _square(image: UInt8[Tensor, "3 H W"]) -> UInt8[Tensor, "3 side side"]:
    return resize(image, [SIDE, SIDE], antialias=True)
