"""Random embeddings, and steps over them."""

from collections.abc import Sequence
from typing import Any

import torch
from sslab.ssl.step import Step
from torch import Tensor


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def siamese(z: Tensor | Sequence[Tensor], **known: Any) -> Step:
    """Of views that are queries and targets both."""
    views = dict(enumerate(z))
    return Step.of(views, views, **known)
