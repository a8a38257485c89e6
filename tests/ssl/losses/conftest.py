import pytest
import torch
from torch import Tensor


@pytest.fixture
def golden() -> Tensor:
    """The raw embeddings (V=3, N=4, D=3) for which the golden values of all losses were computed."""
    v, i, d = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (3, 4, 3)), indexing="ij")
    return torch.sin(1 + 1.7 * v + 0.9 * i + 2.3 * d + 0.5 * i * d)
