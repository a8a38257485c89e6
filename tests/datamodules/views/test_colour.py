import pytest
import torch
from jaxtyping import UInt8
from sslab.datamodules.views.colour import blend, shift_hue
from torch import Tensor
from torchvision.transforms.v2 import functional as F

TARGET = {"brightness": (0.0, 0.0), "contrast": (1.0, 0.0), "saturation": (0.0, 1.0)}
THEIRS = {"brightness": F.adjust_brightness, "contrast": F.adjust_contrast, "saturation": F.adjust_saturation}


@pytest.mark.parametrize("name", TARGET)
def test_blends_equal_torchvision(images: UInt8[Tensor, "24 3 40 52"], name: str) -> None:
    x, factor = images / 255, torch.linspace(0, 2, 24)
    expected = torch.stack([THEIRS[name](image, f) for image, f in zip(x, factor.tolist(), strict=True)])
    how = torch.cat([factor[:, None], torch.tensor([TARGET[name]]).expand(24, 2)], 1)
    torch.testing.assert_close(blend(x, how), expected, atol=1e-6, rtol=0)


def test_a_factor_of_one_changes_no_bit(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    x = images / 255
    how = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]).repeat(8, 1)
    assert torch.equal(blend(x.clone(), how), x)


def test_a_factor_of_zero_towards_grey_is_grey(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    x = images / 255
    grey = blend(x.clone(), torch.tensor([[0.0, 0.0, 1.0]]).expand(24, 3))
    torch.testing.assert_close(grey, F.rgb_to_grayscale(x, num_output_channels=3))


def test_hue_equals_torchvision(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    x, shift = images / 255, torch.linspace(-0.5, 0.5, 24)
    shift[:3] = torch.tensor([0.1, 0.25, -1 / 3])  # of the grey and the saturated image too
    expected = torch.stack([F.adjust_hue(image, s) for image, s in zip(x, shift.tolist(), strict=True)])
    torch.testing.assert_close(shift_hue(x, shift), expected, atol=1e-5, rtol=0)


def test_a_third_of_the_circle_permutes_the_channels(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    x = images / 255
    turned = shift_hue(x.clone(), torch.full((24,), 1 / 3))
    torch.testing.assert_close(turned, x.roll(1, 1), atol=1e-5, rtol=0)
