"""Crop, flip and resize a batch in one go, each image with its own box."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

Interpolation = Literal["bilinear", "bicubic"]
BY_MATRIX = 64  # up to this side two small matrix products per image are faster on a CPU than torchvision's uint8 loop


def resample(
    images: UInt8[Tensor, "b 3 H W"],
    box: Int[Tensor, "b 4"],
    flipped: Bool[Tensor, " b"],
    size: int,
    interpolation: Interpolation = "bilinear",
) -> Float[Tensor, "b 3 {size} {size}"]:
    """The pixels in `box`, antialiased at `size`, mirrored where `flipped`, in [0, 1].

    What bicubic weights overshoot is cut off after the columns and after the rows, as torchvision and PIL do on uint8.
    """
    if images.device.type == "cpu" and size > BY_MATRIX:
        return _one_by_one(images, box, flipped, size, interpolation)
    x0, y0, x1, y1 = box.float().unbind(1)
    columns = weights(x0, x1, images.shape[3], size, flipped, interpolation)
    rows = weights(y0, y1, images.shape[2], size, torch.zeros_like(flipped), interpolation)
    narrow = images.float().flatten(1, 2) @ columns.mT  # (B, 3·H, size)
    if interpolation == "bilinear":
        return (rows[:, None] / 255) @ narrow.unflatten(1, (3, -1))
    return ((rows[:, None] / 255) @ narrow.clamp_(0, 255).unflatten(1, (3, -1))).clamp_(0, 1)


def weights(
    start: Float[Tensor, " b"],
    stop: Float[Tensor, " b"],
    source: int,
    size: int,
    mirrored: Bool[Tensor, " b"],
    interpolation: Interpolation,
) -> Float[Tensor, "b {size} {source}"]:
    """Weights of the source pixels (columns) in each target pixel (rows): a kernel, widened when shrinking."""
    start, stop, mirrored = (t[:, None, None] for t in (start, stop, mirrored))
    stride = (stop - start) / size
    support = stride.clamp(min=1)
    target = torch.arange(size, device=start.device)[:, None] + 0.5
    centre = start + stride * torch.where(mirrored, size - target, target)  # (B, size, 1)
    pixel = torch.arange(source, device=start.device) + 0.5
    pixel = torch.where((pixel > start) & (pixel < stop), pixel, torch.inf)  # (B, 1, source): none beyond the crop
    weight = KERNELS[interpolation]((pixel / support - centre / support).abs_())
    return weight.mul_(1 / weight.sum(2, keepdim=True))


def triangle(distance: Tensor) -> Tensor:
    """1 - d up to a distance d of 1."""
    return (1 - distance).clamp_(min=0)


def cubic(distance: Tensor) -> Tensor:
    """Keys's kernel (1981) with a = -1/2: n² (1 - 2 n) + f² (f - 1) / 2, where n = max(0, 1 - d), f = max(0, 2 - d)."""
    far = (2 - distance).clamp_(min=0)
    outer = far - 1
    near = outer.clamp(min=0)
    weight = near.square().mul_(near.mul_(-2).add_(1))
    return weight.addcmul_(outer.mul_(far), far, value=0.5)


KERNELS = {"bilinear": triangle, "bicubic": cubic}


def resample_one(
    image: UInt8[Tensor, "3 H W"], box: Int[Tensor, " 4"], size: int, interpolation: Interpolation = "bilinear"
) -> UInt8[Tensor, "3 {size} {size}"]:
    """The same of one image of any size, rounded to uint8 and never mirrored."""
    x0, y0, x1, y1 = box.tolist()
    return resized_crop(image, y0, x0, y1 - y0, x1 - x0, [size, size], InterpolationMode(interpolation), antialias=True)


def _one_by_one(images: Tensor, box: Tensor, flipped: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    crops = (resample_one(image, one, size, interpolation) for image, one in zip(images, box, strict=True))
    mirrored = (crop.flip(2) if flip else crop for crop, flip in zip(crops, flipped.tolist(), strict=True))
    return torch.stack(list(mirrored)).float().mul_(1 / 255)
