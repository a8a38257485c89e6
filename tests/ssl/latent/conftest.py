from collections.abc import Callable
from typing import Any

import pytest
import torch
from sslab.ssl.core.draws import keys
from sslab.ssl.core.step import Batch, Step
from torch import Tensor


@pytest.fixture
def normal() -> Callable[..., Tensor]:
    def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    return normal


@pytest.fixture
def step_of() -> Callable[..., Step]:
    """A step whose queries are of view 0 and targets of view 1, with a filled memory of other images."""

    def step_of(q: Tensor, k: Tensor, memory: Tensor, **known: Any) -> Step:
        b, m = len(q), len(memory)
        batch = Batch.of(torch.zeros(b, 3, 0, 0, dtype=torch.uint8), key=keys(0, torch.arange(b)))
        filled: dict[str, Any] = {
            "memory": memory,
            "memory_row": torch.arange(100, 100 + m),
            "memory_group": torch.zeros(m, dtype=torch.long),
            "memory_label": torch.full((m,), -1),
        }
        return Step.of({0: q}, {1: k}, batch, **(filled | known))

    return step_of
