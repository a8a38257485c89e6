"""Image sets that are too large to hold, or of many sizes: workers decode and crop them."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...ssl.core.errors import UserError
from ...ssl.core.step import Batch, Crop
from ..reading.bad_files import BadFiles
from ..reading.images import BadImage, ImageSet, known
from ..sources.partners import Partners
from .placeless import Placeless
from .sampler import Batches, Pick


@runtime_checkable
class Cropper(Protocol):
    """A view source, as workers need it."""

    count: int

    def crop_one(self, image: UInt8[Tensor, "3 H W"], key: Int[Tensor, ""], view: int) -> Crop: ...


@runtime_checkable
class PairCropper(Cropper, Protocol):
    """One that crops the partner of an image for one of its views."""

    def partner_view(self, key: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """The number of that view; -1: none."""
        ...


class Crops(Dataset[tuple[Batch, list[BadImage]]]):
    """Whole batches, read and cropped one image at a time. An image that cannot be read gives way to the next row.

    Partners are read where views show them; one that cannot be read is none.
    """

    def __init__(
        self, images: ImageSet, rows: Int[Tensor, " n"], views: Cropper | None, partners: Partners | None = None
    ) -> None:
        self.images, self.rows, self.views = images, rows, views
        self.partners = partners if views is None or isinstance(views, PairCropper) else None

    def __getitem__(self, pick: Pick) -> tuple[Batch, list[BadImage]]:
        bad: list[BadImage] = []
        row, paired, taken = [], [], []
        for choice, key in zip(pick.choice.tolist(), pick.key, strict=True):
            found, image = self._readable(choice, bad)
            partner = self._partner(found, bad)
            row.append(found)
            paired.append(partner is not None)
            beside = image if partner is None else partner
            taken.append([image, beside] if self.views is None else self._crops(self.views, image, beside, key))
        fields = {"key": pick.key, "paired": torch.tensor(paired), **known(self.images, torch.tensor(row))}
        if self.views is None:
            images, partners = map(list, zip(*taken, strict=True))
            pairs = {"partner": _same_size(partners)} if self.partners else {}
            return Batch.of(_same_size(images), **fields, **pairs), bad
        crops = tuple(Crop(*map(torch.cat, zip(*view, strict=True))) for view in zip(*taken, strict=True))
        return Batch.of(torch.empty(len(row), 3, 0, 0, dtype=torch.uint8), crops=crops, **fields), bad

    def _readable(self, choice: int, bad: list[BadImage]) -> tuple[int, UInt8[Tensor, "3 H W"]]:
        for ahead in range(len(self.rows)):
            row = int(self.rows[(choice + ahead) % len(self.rows)])
            try:
                return row, self.images.read(row)
            except BadImage as error:
                bad.append(error)
        raise UserError(f"none of the {len(self.rows)} training images can be read: are they images?")

    def _partner(self, row: int, bad: list[BadImage]) -> UInt8[Tensor, "3 H W"] | None:
        try:
            return self.partners.read(row) if self.partners else None
        except BadImage as error:
            bad.append(error)
            return None

    def _crops(
        self, views: Cropper, image: UInt8[Tensor, "3 H W"], partner: UInt8[Tensor, "3 H2 W2"], key: Int[Tensor, ""]
    ) -> list[Crop]:
        shown = views.partner_view(key[None]).item() if isinstance(views, PairCropper) else -1
        return [views.crop_one(partner if view == shown else image, key, view) for view in range(views.count)]


def _same_size(images: list[Tensor]) -> UInt8[Tensor, "b 3 H W"]:
    if len({image.shape for image in images}) > 1:
        raise UserError("images differ in size and nothing crops them: set data.held to the side they should have")
    return torch.stack(images)


class Stream(Placeless, DataLoader[tuple[Batch, list[BadImage]]]):
    """Batches from workers that stay alive between epochs."""

    def __init__(self, sampler: Batches, crops: Crops, bad: BadFiles, workers: int, pin_memory: bool = False) -> None:
        super().__init__(
            crops,
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # else the workers' seed would be drawn from the global one
        )
        self.bad = bad

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            for batch, bad in super().__iter__():
                self.bad.add(bad)
                yield batch
        except UserError as error:  # a worker's comes with its traceback
            raise UserError(str(error).rpartition("UserError: ")[2].strip()) from error
