"""Crop, flip and resize a batch in one go, each image with its own box."""

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torchvision.transforms.v2.functional import resized_crop

BY_MATRIX = 64  # up to this side two small matrix products per image are faster on a CPU than torchvision's uint8 loop


def resample(
    images: UInt8[Tensor, "b 3 H W"], box: Int[Tensor, "b 4"], flipped: Bool[Tensor, " b"], size: int
) -> Float[Tensor, "b 3 {size} {size}"]:
    """The pixels in `box`, antialiased bilinear at `size`, mirrored where `flipped`, in [0, 1]."""
    if images.device.type == "cpu" and size > BY_MATRIX:
        return _one_by_one(images, box, flipped, size)
    x0, y0, x1, y1 = box.float().unbind(1)
    columns = interpolation(x0, x1, images.shape[3], size, flipped)
    rows = interpolation(y0, y1, images.shape[2], size, torch.zeros_like(flipped))
    narrow = images.float().flatten(1, 2) @ columns.mT  # (B, 3·H, size)
    return (rows[:, None] / 255) @ narrow.unflatten(1, (3, -1))


def interpolation(
    start: Float[Tensor, " b"], stop: Float[Tensor, " b"], source: int, size: int, mirrored: Bool[Tensor, " b"]
) -> Float[Tensor, "b {size} {source}"]:
    """Weights of the source pixels (columns) in each target pixel (rows): a triangle, widened when shrinking."""
    start, stop, mirrored = (t[:, None, None] for t in (start, stop, mirrored))
    stride = (stop - start) / size
    support = stride.clamp(min=1)
    target = torch.arange(size, device=start.device)[:, None] + 0.5
    centre = start + stride * torch.where(mirrored, size - target, target)  # (B, size, 1)
    pixel = torch.arange(source, device=start.device) + 0.5
    pixel = torch.where((pixel > start) & (pixel < stop), pixel, torch.inf)  # (B, 1, source): none beyond the crop
    weight = (1 - (pixel / support - centre / support).abs_()).clamp_(min=0)
    return weight.mul_(1 / weight.sum(2, keepdim=True))


def resample_one(image: UInt8[Tensor, "3 H W"], box: Int[Tensor, " 4"], size: int) -> UInt8[Tensor, "3 {size} {size}"]:
    """The same of one image of any size, rounded to uint8 and never mirrored."""
    x0, y0, x1, y1 = box.tolist()
    return resized_crop(image, y0, x0, y1 - y0, x1 - x0, [size, size], antialias=True)


def _one_by_one(images: Tensor, box: Tensor, flipped: Tensor, size: int) -> Tensor:
    crops = (resample_one(image, one, size) for image, one in zip(images, box, strict=True))
    mirrored = (crop.flip(2) if flip else crop for crop, flip in zip(crops, flipped.tolist(), strict=True))
    return torch.stack(list(mirrored)).float().mul_(1 / 255)
