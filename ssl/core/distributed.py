"""The other processes, as a loss sees them: how many there are, and their tensors with gradients."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable


def world() -> int:
    """The number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, 0 without a process group."""
    return dist.get_rank() if world() > 1 else 0


def barrier() -> None:
    """Wait for the other processes."""
    if world() > 1:
        dist.barrier()


def agreed(word: str) -> str:
    """Return the word of the first process."""
    words = [word]
    if world() > 1:
        dist.broadcast_object_list(words)
    return words[0]


def collected(parts: list[Any]) -> list[Any]:
    """Return the parts of every process, in rank order: of any size, and with tensors on the CPU."""
    everyone: list[Any] = [parts]
    if world() > 1:
        everyone *= world()
        dist.all_gather_object(everyone, parts)
    return [part for own in everyone for part in own]


def gather(x: Shaped[Tensor, "n *rest"]) -> Shaped[Tensor, "m *rest"]:
    """The equally many rows of every rank, in rank order; the gradient of a row is summed over all ranks.

    With gradients averaged over ranks, as DDP does, a loss whose mean over ranks is the global loss so
    gets the exact global gradient.
    """
    return _Gather.apply(x) if world() > 1 else x  # pyright: ignore[reportReturnType]


def total(x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The sum over ranks, a constant to autograd."""
    x = x.detach()
    if world() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.rows = len(x)
        everyone = x.new_empty(world() * len(x), *x.shape[1:])
        dist.all_gather_into_tensor(everyone, x.contiguous())
        return everyone

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return total(gradient.contiguous())[rank() * ctx.rows :][: ctx.rows]
