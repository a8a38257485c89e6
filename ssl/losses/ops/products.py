"""Matrix products in full precision both ways."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def products(a: Float[Tensor, "*b n d"], b: Float[Tensor, "*b n e"]) -> Float[Tensor, "*b d e"]:
    """Σ_n a_ni b_nj, whose gradient is as precise as its value also where autocast is on in the backward pass."""
    return _Products.apply(a, b)  # pyright: ignore[reportReturnType]


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(a, b)
        return a.mT @ b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        a, b = ctx.saved_tensors
        with torch.autocast(a.device.type, enabled=False):
            to_a, to_b = ctx.needs_input_grad
            return b @ gradient.mT if to_a else None, a @ gradient if to_b else None
