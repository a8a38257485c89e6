"""Patterns with values from -1 to 1 and period 2π along both axes, smooth enough to be sampled once per pixel."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Plane = Float[Tensor, "b h w"]


def stripes(x: Plane, y: Plane) -> Plane:
    return torch.sin(x)


def checks(x: Plane, y: Plane) -> Plane:
    return torch.sin(x) * torch.sin(y)


def dots(x: Plane, y: Plane) -> Plane:
    return (torch.cos(x) + torch.cos(y)).clamp(min=0) - 1


def waves(x: Plane, y: Plane) -> Plane:
    return torch.sin(x + 1.5 * torch.sin(y))


def lattice(x: Plane, y: Plane) -> Plane:
    return torch.maximum(torch.sin(x), torch.sin(y))


TEXTURES: tuple[Callable[[Plane, Plane], Plane], ...] = (stripes, checks, dots, waves, lattice)
