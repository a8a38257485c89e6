"""The places of random resized crops."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

ATTEMPTS = 10
DRAWS = 2 * ATTEMPTS + 2  # an area and an aspect for each attempt, and one place


def random_crop(
    u: Float[Tensor, "b d"],
    height: int,
    width: int,
    scale: Sequence[float | int],
    ratio: Sequence[float | int],
    centre: float | int = 1,
) -> Int[Tensor, "b 4"]:
    """Pixel boxes x0, y0, x1, y1 from uniform numbers `u` by torchvision's rule (Szegedy et al. 2015).

    area = U(scale) · height · width and aspect = exp U(log ratio), drawn ten times: the first rectangle that fits is
    taken, at a uniform place. If none fits it is the largest central one whose aspect is within `ratio`.

    With `centre` below 1 the crop's own centre stays in the middle of the image, in a box of this share of its sides,
    as far as the crop's size allows. The last two of the numbers say where: another distribution is that of the place.
    """
    (area, aspect), place = u[:, : 2 * ATTEMPTS].unflatten(1, (2, ATTEMPTS)).unbind(1), u[:, 2 * ATTEMPTS :]
    area = (scale[0] + (scale[1] - scale[0]) * area) * (height * width)
    aspect = (math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * aspect).exp()
    size = torch.stack([area * aspect, area / aspect], 1).sqrt().round()  # (B, 2, attempts): widths and heights
    room = size.new_tensor([width, height])
    fits = ((size > 0) & (size <= room[:, None])).all(1)
    central = size.new_tensor(_central(height, width, ratio)).expand(len(u), 2)
    first = F.pad(fits, (0, 1), value=True).byte().argmax(1)  # the last, central one always fits
    size = torch.cat([size, central[..., None]], 2)[torch.arange(len(u), device=u.device), :, first]  # (B, 2)
    free = room - size
    low = ((room * (1 - centre) - size) / 2).ceil().clamp(min=0)
    high = ((room * (1 + centre) - size) / 2).floor().minimum(free)
    drawn = (low + (place * (high - low + 1)).floor()).minimum(high)
    start = torch.where((first < ATTEMPTS)[:, None], drawn, (free / 2).floor())
    return torch.cat([start, start + size], 1).long()


def _central(height: int, width: int, ratio: Sequence[float | int]) -> tuple[int, int]:
    if width < ratio[0] * height:
        return width, round(width / ratio[0])
    if width > ratio[1] * height:
        return round(height * ratio[1]), height
    return width, height
