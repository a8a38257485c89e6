"""The inverse square root of covariances, with a gradient that equal eigenvalues do not disturb."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

SMALLEST = 1e-12  # variance below which a direction counts as this large: a collapsed batch stays finite


def inverse_root(covariance: Float[Tensor, "*g d d"]) -> Float[Tensor, "*g d d"]:
    """The symmetric matrix C^(-1/2).

    With C = U diag(r²) Uᵀ and a gradient G, the gradient to C is U (K * UᵀGU) Uᵀ, K_ij = -1 / (r_i r_j (r_i + r_j)):
    no difference of eigenvalues divides, as it does in the gradient of an eigendecomposition.
    """
    return _InverseRoot.apply(covariance)  # pyright: ignore[reportReturnType]


class _InverseRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, covariance: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        eigenvalues, basis = torch.linalg.eigh(covariance)
        root = eigenvalues.clamp_min(SMALLEST).sqrt()
        ctx.save_for_backward(root, basis)
        return (basis / root[..., None, :]) @ basis.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        root, basis = ctx.saved_tensors
        rows, columns = root[..., :, None], root[..., None, :]
        with torch.autocast(gradient.device.type, enabled=False):  # the caller's may be on again
            inner = basis.mT @ (gradient + gradient.mT) @ basis / 2
            return -(basis @ (inner / (rows * columns * (rows + columns))) @ basis.mT)
