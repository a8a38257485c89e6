"""Colour jitter: four operations of random strength, in an order of its own for each image, then perhaps grey."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .colour import CONTRAST, FACTOR, blend, shift_hue
from .masked_ops import in_use

DRAWS = 10
EARLY = 3  # as many blends can precede the hue


def random_jitter(
    u: Float[Tensor, "b d"], probability: float | int, strength: Sequence[float | int], grey: float | int
) -> tuple[Float[Tensor, "b 7 3"], Float[Tensor, " b"]]:
    """Blends and hue shift of torchvision's ColorJitter and RandomGrayscale, from uniform numbers `u`.

    The order of four operations is that of the three blends and the number of them that precede the hue: of three
    slots before it and three behind, each image uses three, and the blends in the others have a factor of 1.
    `strength` is that of brightness, contrast and saturation (factors in [max(0, 1 - s), 1 + s]) and of the hue
    (shift in [-s, s]); `grey` is the probability of greyscale, the last blend.
    """
    chosen, order, hue_order = u[:, 0] < probability, u[:, 5:8], u[:, 8:9]
    spread, turn = u.new_tensor(strength).split([3, 1])
    low = (1 - spread).clamp(min=0)
    factor = torch.where(chosen[:, None], low + (1 + spread - low) * u[:, 1:4], 1)
    hue = torch.where(chosen, (2 * u[:, 4] - 1) * turn, 0)
    target = torch.eye(3, device=u.device)[:, 1:].expand(len(u), 3, 2)  # brightness, contrast, saturation
    blends = torch.cat([factor[:, :, None], target], 2).take_along_dim(order.argsort(1)[:, :, None], 1)
    early = torch.arange(3, device=u.device) < (order < hue_order).sum(1, keepdim=True)
    last = blends.new_tensor([1, 0, 1]).repeat(len(u), 1, 1)
    last[:, 0, FACTOR] = (u[:, 9] >= grey).float()
    return torch.cat([_only(blends, early), _only(blends, ~early), last], 1), hue


def jitter(
    x: Float[Tensor, "b 3 h w"], blends: Float[Tensor, "b 7 3"], hue: Float[Tensor, " b"]
) -> Float[Tensor, "b 3 h w"]:
    """Three blends, a shift of the hue and four blends, in place."""
    used = in_use(blends[:, :, FACTOR] != 1)
    for step, how in enumerate(blends.unbind(1)):
        if step == EARLY and any(in_use(hue[:, None] != 0)):
            shift_hue(x, hue)
        if used[step]:
            blend(x, how)
    return x


def _only(blends: Float[Tensor, "b 3 3"], used: Bool[Tensor, "b 3"]) -> Float[Tensor, "b 3 3"]:
    factor = torch.where(used, blends[:, :, FACTOR], 1)
    return torch.cat([factor[:, :, None], blends[:, :, CONTRAST:]], 2)
