"""Random embeddings, steps over them, and the value and gradient of a loss there."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sslab.ssl.core.step import Step
from torch import Tensor


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def siamese(z: Tensor | Sequence[Tensor], **known: Any) -> Step:
    """Of views that are queries and targets both."""
    views = dict(enumerate(z))
    return Step.of(views, views, **known)


def value_and_gradient(loss: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    z = z.clone().requires_grad_()
    value = loss(z)
    return value.detach(), torch.autograd.grad(value, z)[0]
