"""Sums over a batch of products of dimensions, in full precision both ways."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def products(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Σ_n a_ni b_nj, whose gradient is as precise as its value also where autocast is on in the backward pass."""
    return _Products.apply(a, b)  # pyright: ignore[reportReturnType]


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(a, b)
        return a.T @ b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        a, b = ctx.saved_tensors
        with torch.autocast(a.device.type, enabled=False):
            to_a, to_b = ctx.needs_input_grad
            return b @ gradient.T if to_a else None, a @ gradient if to_b else None
