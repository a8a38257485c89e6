"""Embeddings together with what decides who may be contrasted with whom."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Points(NamedTuple):
    """Embeddings, each with the image that it shows, the group of that image and its label."""

    z: Float[Tensor, "n d"]
    row: Int[Tensor, " n"]
    group: Int[Tensor, " n"]
    label: Int[Tensor, " n"]

    def part(self, part: slice) -> "Points":
        return Points(*(field[part] for field in self))

    def excluded(self, candidates: "Points") -> Bool[Tensor, "n m"]:
        """True where a candidate is no negative of a point: it shows the same image, or is of another group."""
        same_image = self.row[:, None] == candidates.row
        return same_image.logical_or_(self.group[:, None] != candidates.group)

    @classmethod
    def join(cls, several: list["Points"]) -> "Points":
        return several[0] if len(several) == 1 else cls(*map(torch.cat, zip(*several, strict=True)))
