from math import exp

import pytest
import torch
from jaxtyping import Float, UInt8
from sslab.datamodules.views.blur import band, convolve, gaussian, kernel_side
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

SIGMA = torch.linspace(0.1, 2.0, 24)


def blurred(x: Tensor, sigma: float, edge: int) -> Float[Tensor, "3 s s"]:
    """Convolve one image in float64 with exp(-d² / 2σ²), |d| <= edge, reflecting at the border."""
    side = x.shape[2]
    weight = torch.zeros(side, side, dtype=torch.float64)
    for pixel in range(side):
        for distance in range(-edge, edge + 1):
            neighbour = abs(pixel + distance)
            neighbour = neighbour if neighbour < side else 2 * (side - 1) - neighbour
            weight[pixel, neighbour] += exp(-(distance**2) / (2 * sigma**2))
    weight /= weight.sum(1, keepdim=True)
    return weight @ x.double() @ weight.T


def variance(weight: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    distance = torch.arange(weight.shape[1], dtype=torch.float64) - weight.shape[1] // 2
    return (weight.double() * distance**2).sum(1)


@pytest.mark.parametrize("side", [1, 3, 9, 23])
def test_equals_torchvision(images: UInt8[Tensor, "24 3 40 52"], side: int) -> None:
    x = images[:, :, :, :40] / 255  # a block and a bit
    expected = torch.stack([gaussian_blur(i, [side, side], [s, s]) for i, s in zip(x, SIGMA.tolist(), strict=True)])
    torch.testing.assert_close(convolve(x, gaussian(SIGMA, side)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("sigma", "side", "pixels"), [(2.0, 32, 13), (2.0, 224, 13), (2.0, 7, 13), (1.5, 32, 11)])
def test_the_kernel_reaches_three_sigmas(sigma: float, side: int, pixels: int) -> None:
    assert kernel_side(sigma, side) == pixels


@pytest.mark.parametrize("side", [1, 2, 4, 6])
def test_a_small_view_is_blurred_by_what_it_can_reflect(images: UInt8[Tensor, "24 3 40 52"], side: int) -> None:
    assert kernel_side(2.0, side) == 2 * side - 1
    x = images[:, :, :side, 28 : 28 + side] / 255
    expected = torch.stack([blurred(i, s, side - 1) for i, s in zip(x, SIGMA.tolist(), strict=True)])
    x = convolve(x, gaussian(SIGMA, kernel_side(2.0, side)))
    torch.testing.assert_close(x, expected.float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("side", [21, 32, 40])
def test_differs_from_an_untruncated_gaussian_by_less_than_half_a_level(
    images: UInt8[Tensor, "24 3 40 52"], side: int
) -> None:
    """Weights beyond three sigmas sum to 0.103 % where sigma is 2: two axes may differ by 0.205 % of the range."""
    images[20:] = (images[20:] > 127).byte() * 255  # the widest blurs see edges
    x = images[:, :, :side, 10 : 10 + side] / 255
    expected = torch.stack([blurred(i, s, 20) for i, s in zip(x, SIGMA.tolist(), strict=True)])
    error = (convolve(x, gaussian(SIGMA, kernel_side(2.0, side))) - expected).abs()
    assert error.max() < 0.00205


def test_the_variance_is_sigma_squared() -> None:
    """A sampled Gaussian narrower than a pixel has less: 0.215 for 0.25, and none where sigma is 0.1, as PIL's."""
    side = kernel_side(2.0, 32)
    sigma = torch.linspace(0.8, 2.0, 25)
    share = variance(gaussian(sigma, side)) / sigma**2
    assert (share - 1).abs().max() < 0.0125  # what truncation takes from the widest
    assert (share[sigma <= 1.5] - 1).abs().max() < 3e-4
    narrow = variance(gaussian(torch.tensor([0.1, 0.3, 0.5]), side))
    torch.testing.assert_close(narrow, torch.tensor([0, 0.0076725, 0.21501]).double(), atol=1e-5, rtol=0)


def test_weights_sum_to_one() -> None:
    torch.testing.assert_close(gaussian(SIGMA, 9).sum(1), torch.ones(24))
    torch.testing.assert_close(band(gaussian(SIGMA, 9), 7).sum(2), torch.ones(24, 7))


def test_no_weight_is_subnormal() -> None:
    weight = gaussian(SIGMA, 23)
    assert ((weight == 0) | (weight > 1e-12)).all()
