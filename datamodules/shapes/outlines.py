"""Ten shapes in the unit circle as signed distances: unions (min) and intersections (max) of half planes and discs."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Plane = Float[Tensor, "b h w"]
Outline = Callable[[Plane, Plane], Plane]


def disc(x: Plane, y: Plane) -> Plane:
    return torch.hypot(x, y) - 0.8


def ring(x: Plane, y: Plane) -> Plane:
    return (torch.hypot(x, y) - 0.75).abs() - 0.2


def square(x: Plane, y: Plane) -> Plane:
    return torch.maximum(x.abs(), y.abs()) - 0.7


def bar(x: Plane, y: Plane) -> Plane:
    return torch.maximum(x.abs() - 0.95, y.abs() - 0.25)


def cross(x: Plane, y: Plane) -> Plane:
    return torch.minimum(bar(x, y), bar(y, x))


def triangle(x: Plane, y: Plane) -> Plane:
    return _sides(x, y, 3, 0.5).amax(0)


def star(x: Plane, y: Plane) -> Plane:
    """A pentagram: what lies beyond one side of a pentagon at most."""
    return _sides(x, y, 5, 0.3).topk(2, dim=0).values[1]


def hourglass(x: Plane, y: Plane) -> Plane:
    return torch.maximum(y.abs() - 0.7, (x.abs() - y.abs()) * math.sqrt(0.5))


def crescent(x: Plane, y: Plane) -> Plane:
    return torch.maximum(torch.hypot(x, y) - 0.9, 0.75 - torch.hypot(x - 0.45, y))


def heart(x: Plane, y: Plane) -> Plane:
    """A square on its tip with a disc on each upper side."""
    tip = (x.abs() + (y + 0.1).abs() - 0.7) * math.sqrt(0.5)
    lobe = torch.hypot(x.abs() - 0.35, y - 0.25) - 0.35 * math.sqrt(2)
    return torch.minimum(tip, lobe)


def _sides(x: Plane, y: Plane, count: int, inner: float) -> Float[Tensor, "n b h w"]:
    """Distance beyond each side of a regular polygon with this inner radius."""
    turns = [2 * math.pi * k / count for k in range(count)]
    return torch.stack([math.sin(turn) * x - math.cos(turn) * y - inner for turn in turns])


OUTLINES: tuple[Outline, ...] = (disc, ring, square, bar, cross, triangle, star, hourglass, crescent, heart)
