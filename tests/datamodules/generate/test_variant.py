import pytest
import torch
from jaxtyping import UInt8
from sslab.datamodules.generate.variant import variant
from sslab.datamodules.shapes.shapes import Shapes
from torch import Tensor

LEVELS = (0, 50, 100, 200, 400, 700, 999)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> UInt8[Tensor, "n 3 H W"]:
    stack = Shapes(train=16, test=1, cache=str(tmp_path_factory.mktemp("cache"))).train.stack
    assert stack is not None
    return stack


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_level_0_is_the_image(images: UInt8[Tensor, "n 3 H W"]) -> None:
    assert torch.equal(variant(images[0], 0, noise()), images[0])


def test_the_higher_the_level_the_further_from_the_image(images: UInt8[Tensor, "n 3 H W"]) -> None:
    for number, image in enumerate(images):
        made = [variant(image, level, noise(number)) for level in LEVELS]
        distance = [(m.float() - image.float()).square().mean().item() for m in made]
        assert distance == sorted(distance)
        assert len({*distance}) == len(LEVELS)


def test_only_the_noise_decides(images: UInt8[Tensor, "n 3 H W"]) -> None:
    once, again, other = (variant(images[0], 200, noise(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("side", [40, 160])
def test_blur_grows_with_the_side_and_noise_does_not(side: int) -> None:
    """An edge of height h, blurred by σ, leaves an area of h σ √(2/π) between itself and the blurred one."""
    step = torch.where(torch.arange(side) < side // 2, 64.0, 192.0)
    image = step.byte().expand(3, side, side)
    left = variant(image, 300, noise()).float().mean((0, 1)) - step
    area = (left * torch.where(step < 128, 1, -1)).mean().item()
    assert area == pytest.approx(128 * 300 / 999 * 0.08 * (2 / torch.pi) ** 0.5, abs=0.4)
    flat = torch.full((3, side, side), 128, dtype=torch.uint8)
    assert variant(flat, 300, noise()).float().std().item() == pytest.approx(300 / 999 * 64, rel=0.05)
