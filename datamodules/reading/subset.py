"""Some images of a set, in an order of their own."""

from collections.abc import Iterable
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from .encoded import Encoded


class Subset(Encoded):
    """The rows of an image set that are named; nothing is copied."""

    def __init__(self, images: Encoded, rows: Int[Tensor, " n"]) -> None:
        super().__init__(images.label[rows], images.classes, held=images.held)
        self.images, self.rows, self.enough = images, rows, images.enough

    def files(self) -> Iterable[Path]:
        return self.images.files()

    def content(self, row: int) -> tuple[str, Path | bytes]:
        return self.images.content(int(self.rows[row]))
