"""Small image sets and features, the same for the same seed."""

from typing import Any

import torch
from jaxtyping import Float, Int
from sslab.datamodules.reading.images import Stack
from sslab.eval.features.store import FeatureStore
from torch import Tensor


def store(features: Float[Tensor, "n d"], label: Int[Tensor, " n"], **known: Any) -> FeatureStore:
    n = len(label)
    return FeatureStore(features, label, torch.zeros(n, 0, dtype=torch.long), torch.arange(n), {"layer": "h"})._replace(
        **known
    )


def clusters(n: int, seed: int = 0, spread: float = 0.5) -> FeatureStore:
    """Three Gaussian clusters in 8 dimensions, with the same centres for every seed."""
    centres = torch.randn(3, 8, generator=torch.Generator().manual_seed(99))
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (n,), generator=draw)
    return store(centres[label] + spread * torch.randn(n, 8, generator=draw), label)


def images(n: int, seed: int = 0, classes: int = 3, size: int = 16) -> Stack:
    """Noise whose hue tells the class."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (n,), generator=draw)
    stack = torch.randint(0, 100, (n, 3, size, size), generator=draw)
    stack[torch.arange(n), label % 3] += 100
    return Stack.of(stack.to(torch.uint8), label, tuple(map(str, range(classes))))
