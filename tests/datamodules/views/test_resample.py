import pytest
import torch
from jaxtyping import Float, Int, UInt8
from sslab.datamodules.views.crop import DRAWS, random_crop
from sslab.datamodules.views.resample import BY_MATRIX, Interpolation, resample, resample_one
from sslab.ssl.core.draws import uniforms
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

STRAIGHT = torch.zeros(24, dtype=torch.bool)
both = pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])


def boxes(images: UInt8[Tensor, "b 3 H W"]) -> Int[Tensor, "b 4"]:
    u = uniforms(torch.arange(len(images)), 2, DRAWS)
    return random_crop(u, images.shape[2], images.shape[3], (0.08, 1.0), (3 / 4, 4 / 3))


def expected(
    images: Float[Tensor, "b 3 H W"] | UInt8[Tensor, "b 3 H W"],
    box: Int[Tensor, "b 4"],
    size: int,
    interpolation: Interpolation,
) -> Float[Tensor, "b 3 {size} {size}"] | UInt8[Tensor, "b 3 {size} {size}"]:
    mode = InterpolationMode(interpolation)
    return torch.stack(
        [
            resized_crop(image, y0, x0, y1 - y0, x1 - x0, [size, size], mode, antialias=True)
            for image, (x0, y0, x1, y1) in zip(images, box.tolist(), strict=True)
        ]
    )


@both
@pytest.mark.parametrize("size", [1, 12, 32, 33, BY_MATRIX])
def test_equals_torchvision(images: UInt8[Tensor, "24 3 40 52"], size: int, interpolation: Interpolation) -> None:
    box, images = boxes(images), images // 2 + 64  # so that no overshoot is cut off
    x = resample(images, box, STRAIGHT, size, interpolation)
    torch.testing.assert_close(x, expected(images / 255, box, size, interpolation), atol=1e-5, rtol=0)


@both
@pytest.mark.parametrize("size", [12, 32, BY_MATRIX, BY_MATRIX + 8])
def test_rounds_to_torchvisions_uint8(
    images: UInt8[Tensor, "24 3 40 52"], size: int, interpolation: Interpolation
) -> None:
    images[2:4] = (images[2:4] > 127).byte() * 255  # edges that overshoot
    box = boxes(images)
    x = resample(images, box, STRAIGHT, size, interpolation)
    one = torch.stack([resample_one(image, b, size, interpolation) for image, b in zip(images, box, strict=True)])
    assert torch.equal(one, expected(images, box, size, interpolation))
    assert (x * 255 - one).abs().max() < 1.15  # rounded twice: after the columns, whose |weights| sum to 1.25, and rows
    assert x.min() >= 0
    assert x.max() <= 1 + 1e-6


@both
def test_a_step_overshoots_by_the_kernel_alone(interpolation: Interpolation) -> None:
    step = torch.full((1, 3, 8, 8), 64, dtype=torch.uint8)
    step[:, :, :, 4:] = 192
    box, straight = torch.tensor([[0, 0, 8, 8]]), torch.zeros(1, dtype=torch.bool)
    x = resample(step, box, straight, 16, interpolation)[0, 0, 0] * 255  # twice the size: pixels at 1/4 and 3/4
    low = {"bilinear": [64.0, 64.0, 96.0], "bicubic": [64 - 128 * 0.0234375, 64 - 128 * 0.0703125, 64 + 128 * 0.203125]}
    torch.testing.assert_close(x[5:8], torch.tensor(low[interpolation]))
    torch.testing.assert_close(x[8:11], 256 - torch.tensor(low[interpolation]).flip(0))


@both
@pytest.mark.parametrize("size", [32, BY_MATRIX + 8])
def test_mirrors_each_image_by_itself(
    images: UInt8[Tensor, "24 3 40 52"], size: int, interpolation: Interpolation
) -> None:
    box, flipped = boxes(images), torch.arange(24) % 3 == 0
    straight = resample(images, box, STRAIGHT, size, interpolation)
    x = resample(images, box, flipped, size, interpolation)
    torch.testing.assert_close(x[flipped], straight[flipped].flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[~flipped], straight[~flipped])


@both
@pytest.mark.parametrize("size", [16, BY_MATRIX + 8])
def test_a_whole_image_of_the_right_size_stays(size: int, interpolation: Interpolation) -> None:
    image = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    box = torch.tensor([[0, 0, size, size]]).expand(2, 4)
    x = resample(image, box, STRAIGHT[:2], size, interpolation)
    torch.testing.assert_close(x * 255, image.float())
