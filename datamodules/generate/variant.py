"""The built-in variation, which needs no weights."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from .levels import HIGHEST, Levels
from .request import Request

BLUR = 0.08  # at the highest level: σ as a share of the shorter side
NOISE = 64  # likewise: σ in grey levels


def variant(image: UInt8[Tensor, "3 H W"], level: int, noise: torch.Generator) -> UInt8[Tensor, "3 H W"]:
    """The image blurred and then noisy, both in proportion to the level; unchanged at level 0."""
    if level == 0:
        return image
    share = level / HIGHEST
    width = share * BLUR * min(image.shape[1:])
    blurred = F.gaussian_blur(image.float(), [2 * round(3 * width) + 1] * 2, [width])
    return (blurred + share * NOISE * torch.randn(image.shape, generator=noise)).round().clamp(0, 255).byte()


class Variant:
    """`variant` of every image.

    Args:
        levels: a noise level from 0 to 999 for all images, or a table of `row` and `noise_level`.
    """

    settings = {"model": "variant", "steps": 1}

    def __init__(self, levels: int | str = 200) -> None:
        self.levels = Levels(levels)

    def __call__(self, requests: Sequence[Request]) -> list[UInt8[Tensor, "c h w"]]:
        return [variant(request.original, request.level, request.noise()) for request in requests]
