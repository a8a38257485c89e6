import pytest
import torch
from jaxtyping import Float, Int, UInt8
from sslab.datamodules.views.crop import DRAWS, random_crop
from sslab.datamodules.views.resample import BY_MATRIX, resample, resample_one
from sslab.ssl.draws import uniforms
from torch import Tensor
from torchvision.transforms.v2.functional import resized_crop


def boxes(images: UInt8[Tensor, "b 3 H W"]) -> Int[Tensor, "b 4"]:
    u = uniforms(torch.arange(len(images)), 2, DRAWS)
    return random_crop(u, images.shape[2], images.shape[3], (0.08, 1.0), (3 / 4, 4 / 3))


def expected(
    images: Float[Tensor, "b 3 H W"], box: Int[Tensor, "b 4"], size: int
) -> Float[Tensor, "b 3 {size} {size}"]:
    return torch.stack(
        [
            resized_crop(image, y0, x0, y1 - y0, x1 - x0, [size, size], antialias=True)
            for image, (x0, y0, x1, y1) in zip(images, box.tolist(), strict=True)
        ]
    )


@pytest.mark.parametrize("size", [1, 12, 32, 33, BY_MATRIX])
def test_equals_torchvision(images: UInt8[Tensor, "24 3 40 52"], size: int) -> None:
    box = boxes(images)
    x = resample(images, box, torch.zeros(24, dtype=torch.bool), size)
    torch.testing.assert_close(x, expected(images / 255, box, size), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [32, BY_MATRIX + 8])
def test_rounds_to_what_one_image_gives(images: UInt8[Tensor, "24 3 40 52"], size: int) -> None:
    box = boxes(images)
    x = resample(images, box, torch.zeros(24, dtype=torch.bool), size)
    one = torch.stack([resample_one(image, b, size) for image, b in zip(images, box, strict=True)])
    assert (x * 255 - one).abs().max() < 1.01  # rounded twice: after the columns and after the rows


@pytest.mark.parametrize("size", [32, BY_MATRIX + 8])
def test_mirrors_each_image_by_itself(images: UInt8[Tensor, "24 3 40 52"], size: int) -> None:
    box, flipped = boxes(images), torch.arange(24) % 3 == 0
    straight = resample(images, box, torch.zeros(24, dtype=torch.bool), size)
    x = resample(images, box, flipped, size)
    torch.testing.assert_close(x[flipped], straight[flipped].flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[~flipped], straight[~flipped])


@pytest.mark.parametrize("size", [16, BY_MATRIX + 8])
def test_a_whole_image_of_the_right_size_stays(size: int) -> None:
    image = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    box = torch.tensor([[0, 0, size, size]]).expand(2, 4)
    x = resample(image, box, torch.zeros(2, dtype=torch.bool), size)
    torch.testing.assert_close(x * 255, image.float())
