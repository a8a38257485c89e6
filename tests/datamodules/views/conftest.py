"""Images that look like something: smooth colours, an edge, a grey one and a saturated one."""

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor


@pytest.fixture
def images() -> UInt8[Tensor, "24 3 40 52"]:
    generator = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.rand(24, 3, 6, 7, generator=generator), (40, 52), mode="bicubic").clamp(0, 1)
    smooth[:, :, :, 30:] *= torch.rand(24, 3, 1, 1, generator=generator)
    smooth[0] = smooth[0, :1]
    smooth[1] = smooth[1].round()
    return (smooth * 255).byte()
