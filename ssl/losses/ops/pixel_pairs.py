"""Pairs of pixels of two views that show the same place of an image."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.step import View


class Bins(NamedTuple):
    """Positions of the pixels of a map on the original image, whose sides are both 1."""

    centre: Float[Tensor, "b n 2"]  # x and y, row by row of the map
    diagonal: Float[Tensor, " b"]


def bins(view: View, shape: Sequence[int]) -> Bins:
    """The bins of a map of `shape` (h, w) of a view: its box in equal parts, from right to left where it is flipped."""
    height, width = shape
    start, side = view.box[:, :2], view.box[:, 2:] - view.box[:, :2]  # (b, 2)
    x, y = ((torch.arange(n).to(side) + 0.5) / n for n in (width, height))
    x = torch.where(view.flipped[:, None], 1 - x, x)  # (b, w)
    within = torch.stack(torch.broadcast_tensors(x[:, None], y[:, None]), dim=-1).flatten(1, 2)  # (b, h·w, 2)
    return Bins(start[:, None] + side[:, None] * within, (side / side.new_tensor([width, height])).norm(dim=1))


def positives(a: View, b: View, shape_a: Sequence[int], shape_b: Sequence[int], radius: float) -> Bool[Tensor, "b n m"]:
    """True where pixels of two views lie less than `radius` diagonals of the larger bin apart (PixPro's A_ij).

    Distances are in parts of the image's sides, so that on an oblong image a circle is an ellipse.
    """
    one, other = bins(a, shape_a), bins(b, shape_b)
    # The quicker way by a product loses the digits of points that are near each other.
    distance = torch.cdist(one.centre, other.centre, compute_mode="donot_use_mm_for_euclid_dist")
    return distance < radius * torch.maximum(one.diagonal, other.diagonal)[:, None, None]
