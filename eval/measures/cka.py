"""Centred kernel alignment: how alike two representations of the same images are."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...ssl.core.errors import UserError
from .moments import CHUNK, mean


def cka(x: Float[Tensor, "n d"], y: Float[Tensor, "n e"]) -> Float[Tensor, ""]:
    """‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) of centred features (Kornblith et al., 2019); too high where n is not far above d."""
    return _product(x, y) / (_product(x, x) * _product(y, y)).sqrt()


def debiased_cka(x: Float[Tensor, "n d"], y: Float[Tensor, "n e"], batch_size: int = 1024) -> Float[Tensor, ""]:
    """HSIC₁(X, Y) / √(HSIC₁(X, X) HSIC₁(Y, Y)), each a mean over batches (Nguyen et al., 2021): about 0 by chance."""
    batches = [(a, b) for a, b in zip(x.split(batch_size), y.split(batch_size), strict=True) if len(a) > 3]
    if not batches:
        raise UserError(f"debiased CKA needs four images or more in a batch, but there are {len(x)}")
    xy, xx, yy = torch.stack([torch.stack([_hsic(a, b), _hsic(a, a), _hsic(b, b)]) for a, b in batches]).mean(0)
    return xy / (xx * yy).sqrt()


def _product(x: Float[Tensor, "n d"], y: Float[Tensor, "n e"]) -> Float[Tensor, ""]:
    """‖XᵀY‖² of centred features, by chunks of rows."""
    mean_x, mean_y = mean(x), mean(y)
    total = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)
    for a, b in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        total.addmm_((a.double() - mean_x).T, b.double() - mean_y)
    return total.square().sum()


def _hsic(x: Float[Tensor, "n d"], y: Float[Tensor, "n e"]) -> Float[Tensor, ""]:
    """The unbiased estimate of Song et al. (2012), of linear kernels K and L with their diagonals set to 0.

    [tr(KL) + 1ᵀK1 1ᵀL1 / ((n−1)(n−2)) − 2 1ᵀKL1 / (n−2)] / (n(n−3))
    """
    n = len(x)
    centred = (z.double() - mean(z) for z in (x, y))  # changes nothing but the rounding
    kernel_x, kernel_y = ((z @ z.T).fill_diagonal_(0) for z in centred)
    rows_x, rows_y = kernel_x.sum(1), kernel_y.sum(1)
    whole = rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2))
    return ((kernel_x * kernel_y).sum() + whole - 2 * rows_x @ rows_y / (n - 2)) / (n * (n - 3))
