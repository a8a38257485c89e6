"""Gaussian blur with a width per image."""

from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 32
REACH = 3  # sigmas on each side of the centre: the weights beyond sum to 0.1 % where sigma is 2, never to 0.3 %


def kernel_side(sigma: float | int, side: int) -> int:
    """Number of pixels that hold a Gaussian of this sigma, odd; as many as a view of `side` pixels can reflect."""
    return 2 * min(ceil(REACH * sigma), side - 1) + 1


def gaussian(sigma: Float[Tensor, " b"], size: int) -> Float[Tensor, "b {size}"]:
    """Weights ∝ exp(-d² / 2σ²) at the distances d from the centre."""
    distance = torch.arange(size, device=sigma.device) - (size - 1) / 2
    weight = (-0.5 * (distance / sigma[:, None]) ** 2).softmax(1)
    return weight.where(weight > 1e-12, 0)  # subnormal numbers would slow every product down


def convolve(x: Float[Tensor, "b 3 s s"], kernel: Float[Tensor, "b k"]) -> Float[Tensor, "b 3 s s"]:
    """Convolve rows and columns by matrix products, reflecting at the border.

    They are several times as fast on a CPU as a grouped convolution, whose groups of one channel leave its vector
    units idle, and by blocks of the band matrix they need not grow with the square of the side.
    """
    side, edge = x.shape[3], kernel.shape[1] // 2
    weight = band(kernel, side)
    starts = range(0, side, BLOCK)
    blocks = [(slice(at, at + BLOCK), slice(max(0, at - edge), at + BLOCK + edge)) for at in starts]
    flat = x.flatten(1, 2)  # (B, 3·s, s)
    x = torch.cat([flat[:, :, near] @ weight[:, block, near].mT for block, near in blocks], 2).view(x.shape)
    return torch.cat([weight[:, None, block, near] @ x[:, :, near] for block, near in blocks], 2)


def band(kernel: Float[Tensor, "b k"], side: int) -> Float[Tensor, "b {side} {side}"]:
    """The convolution as a matrix: row i holds the weights of pixel i's neighbours."""
    b, k = kernel.shape
    pixel, tap = torch.arange(side, device=kernel.device), torch.arange(k, device=kernel.device)
    neighbour = (pixel[:, None] + tap - k // 2).abs()  # (s, k)
    neighbour = torch.where(neighbour < side, neighbour, 2 * (side - 1) - neighbour)
    weight = kernel[:, None].expand(b, side, k)
    return kernel.new_zeros(b, side, side).scatter_add_(2, neighbour.expand(b, side, k), weight)
