"""Functions of rows against many columns, without ever holding all pairs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable


def in_blocks(
    function: Callable[..., Tensor], split: Sequence[Tensor], whole: Sequence[Tensor], rows: int
) -> Shaped[Tensor, "n *rest"]:
    """`function(part, *split[part], *whole)` for the whole of `split`, from `rows` of its rows at a time.

    It is computed again in the backward pass, so that only one part's intermediate results are ever held; gradients
    go to the tensors that are passed, and are in full precision also where autocast is on.
    """
    return _Blocks.apply(function, max(1, rows), len(split), *split, *whole)  # pyright: ignore[reportReturnType]


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], rows: int, split: int, *tensors: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        parts = [slice(start, start + rows) for start in range(0, len(tensors[0]), rows)]
        ctx.save_for_backward(*tensors)
        ctx.compute = lambda part, given: function(part, *(x[part] for x in given[:split]), *given[split:])
        ctx.parts = parts
        return torch.cat([ctx.compute(part, tensors) for part in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        needed = ctx.needs_input_grad[3:]
        given = [x.detach().requires_grad_(needs) for x, needs in zip(ctx.saved_tensors, needed, strict=True)]
        with torch.enable_grad(), torch.autocast(gradient.device.type, enabled=False):
            for part in ctx.parts:
                ctx.compute(part, given).backward(gradient[part])
        return None, None, None, *(x.grad for x in given)
