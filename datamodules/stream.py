"""Image sets that are too large to hold, or of many sizes: workers decode and crop them."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..ssl.errors import UserError
from ..ssl.step import Batch, Crop
from .bad import BadFiles
from .images import BadImage, ImageSet, known
from .placeless import Placeless
from .sampler import Batches, Pick


@runtime_checkable
class Cropper(Protocol):
    """What workers need of a view source."""

    count: int

    def crop_one(self, image: UInt8[Tensor, "3 H W"], key: Int[Tensor, ""], view: int) -> Crop: ...


class Crops(Dataset[tuple[Batch, list[BadImage]]]):
    """Whole batches, read and cropped one image at a time. An image that cannot be read gives way to the next row."""

    def __init__(self, images: ImageSet, rows: Int[Tensor, " n"], views: Cropper | None) -> None:
        self.images, self.rows, self.views = images, rows, views

    def __getitem__(self, pick: Pick) -> tuple[Batch, list[BadImage]]:
        bad: list[BadImage] = []
        row, taken = [], []
        for choice, key in zip(pick.choice.tolist(), pick.key, strict=True):
            found, image = self._readable(choice, bad)
            row.append(found)
            taken.append(image if self.views is None else self._crops(self.views, image, key))
        fields = {"key": pick.key, **known(self.images, torch.tensor(row))}
        if self.views is None:
            return Batch.of(_same_size(taken), **fields), bad
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

    def _crops(self, views: Cropper, image: UInt8[Tensor, "3 H W"], key: Int[Tensor, ""]) -> list[Crop]:
        return [views.crop_one(image, key, view) for view in range(views.count)]


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
