"""Colour operations in place, with a strength per image, on RGB in [0, 1]."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

FACTOR, CONTRAST, SATURATION = range(3)  # the columns of a blend


def blend(x: Float[Tensor, "b 3 h w"], how: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3 h w"]:
    """Brightness, contrast or saturation: factor · x + (1 - factor) · target, clamped to [0, 1].

    The target is black, where `how` is (factor, 0, 0), the mean grey of the image, where (factor, 1, 0), or the image
    in grey, where (factor, 0, 1).
    """
    factor, contrast, saturation = how.reshape(-1, 3, 1, 1, 1).unbind(1)
    grey = rgb_to_grayscale(x, num_output_channels=1)  # (B, 1, h, w)
    mean = grey.mean((2, 3), keepdim=True)
    target = grey.mul_(saturation).add_(mean.mul_(contrast))
    return torch.lerp(target, x, factor, out=x).clamp_(0, 1)


def shift_hue(x: Float[Tensor, "b 3 h w"], shift: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Turn the hue by `shift` of the full circle; value and saturation of HSV stay.

    With value V, chroma C = V - min and hue H: channel = V - C · clamp(6 d - 1, 0, 1), where d is the distance on a
    circle of circumference 1 from H to the channel's own hue: 0, 1/3 and -1/3 for red, green and blue.
    """
    red, green, blue = x.split(1, 1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    hue = (red - green).add_(chroma, alpha=4).lerp_((blue - red).add_(chroma, alpha=2), _equal(green, value))
    hue.lerp_(green - blue, _equal(red, value)).div_(chroma.clamp(min=1e-12).mul_(6))
    hue.add_(shift[:, None, None, None])
    hue.sub_(hue.round())  # in [-1/2, 1/2], so that differences of hues are in [-1, 1]
    away = torch.sub(hue, x.new_tensor([0, 1 / 3, -1 / 3])[:, None, None], out=x)
    near = away.abs_().sub_(0.5).abs_().clamp_(1 / 6, 1 / 3)  # 1/2 - d
    return torch.addcmul(value.sub_(chroma, alpha=2), near, chroma.mul_(6), out=x)


def _equal(a: Tensor, b: Tensor) -> Tensor:
    """1.0 where equal, 0.0 elsewhere: selections by booleans take ten times as long on a CPU."""
    return torch.eq(a, b, out=torch.empty_like(a))
