import pytest
import torch
from jaxtyping import UInt8
from sslab.datamodules.views.blur import band, convolve, gaussian
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

SIGMA = torch.linspace(0.1, 2.0, 24)


@pytest.mark.parametrize("side", [1, 3, 9, 23])
def test_equals_torchvision(images: UInt8[Tensor, "24 3 40 52"], side: int) -> None:
    x = images[:, :, :, :40] / 255  # a block and a bit
    expected = torch.stack([gaussian_blur(i, [side, side], [s, s]) for i, s in zip(x, SIGMA.tolist(), strict=True)])
    torch.testing.assert_close(convolve(x, gaussian(SIGMA, side)), expected, atol=1e-5, rtol=0)


def test_weights_sum_to_one() -> None:
    torch.testing.assert_close(gaussian(SIGMA, 9).sum(1), torch.ones(24))
    torch.testing.assert_close(band(gaussian(SIGMA, 9), 7).sum(2), torch.ones(24, 7))


def test_no_weight_is_subnormal() -> None:
    weight = gaussian(SIGMA, 23)
    assert ((weight == 0) | (weight > 1e-12)).all()
