import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from scipy.stats import ks_2samp
from sslab.datamodules.views.crop import ATTEMPTS, DRAWS, random_crop
from sslab.ssl.core.draws import keys, uniforms
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
MANY = 4000


def draws(count: int) -> Float[Tensor, "{count} d"]:
    return uniforms(keys(0, torch.arange(count)), 1, DRAWS)


@pytest.mark.parametrize(("height", "width", "scale"), [(32, 32, SCALE), (96, 64, (0.2, 1.0)), (20, 60, (0.5, 1.0))])
def test_boxes_are_distributed_as_in_torchvision(height: int, width: int, scale: tuple[float, float]) -> None:
    x0, y0, x1, y1 = random_crop(draws(MANY), height, width, scale, RATIO).unbind(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(3, height, width)
        params = [RandomResizedCrop.get_params(image, list(scale), list(RATIO)) for _ in range(MANY)]
    top, left, h, w = torch.tensor(params).unbind(1)
    ours = ((x1 - x0) * (y1 - y0), (x1 - x0) / (y1 - y0), x0, y0)
    theirs = (h * w, w / h, left, top)
    for mine, reference in zip(ours, theirs, strict=True):
        assert ks_2samp(mine.numpy(), reference.numpy()).pvalue > 0.01  # pyright: ignore[reportAttributeAccessIssue]


@given(st.integers(1, 70), st.integers(1, 70), st.floats(0, 1), st.integers(0, 2**40))
def test_boxes_lie_in_the_image(height: int, width: int, low: float, key: int) -> None:
    box = random_crop(uniforms(torch.tensor([key]), 1, DRAWS), height, width, (low, 1.0), RATIO)[0]
    x0, y0, x1, y1 = box.tolist()
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height


def test_the_first_attempt_that_fits_is_taken() -> None:
    u = torch.full((1, DRAWS), 0.5)
    u[0, :3] = 1.0  # three times the whole area at an aspect that does not fit
    u[0, ATTEMPTS : ATTEMPTS + 3] = 1.0
    u[0, 3] = 0.25
    x0, y0, x1, y1 = random_crop(u, 100, 100, (0.0, 1.0), (0.5, 2.0))[0].tolist()
    assert (x1 - x0, y1 - y0) == (50, 50)  # aspect 1, a quarter of the area
    assert (x0, y0) == (25, 25)


def test_where_none_fits_the_crop_is_central() -> None:
    u = draws(50)
    wide = random_crop(u, 10, 100, (1.0, 1.0), RATIO)
    tall = random_crop(u, 100, 10, (1.0, 1.0), RATIO)
    assert wide.unique(dim=0).tolist() == [[43, 0, 56, 10]]
    assert tall.unique(dim=0).tolist() == [[0, 43, 10, 56]]


@pytest.mark.parametrize("centre", [0.0, 0.5, 0.7, 1.0])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 96)])
def test_centres_lie_in_the_central_box_and_reach_its_edges(height: int, width: int, centre: float) -> None:
    box = random_crop(draws(MANY), height, width, SCALE, RATIO, centre).double()
    middle = (box[:, :2] + box[:, 2:]) / 2
    size, side = box[:, 2:] - box[:, :2], torch.tensor([width, height])
    low, high = side * (1 - centre) / 2, side * (1 + centre) / 2
    # Up to the halves of pixels where the box has no width; a large crop cannot reach the edges.
    assert (middle >= low - 0.5).all()
    assert (middle <= high + 0.5).all()
    small = size.amax(1) < min(height, width) / 2
    torch.testing.assert_close(middle[small].amin(0), low.maximum(size[small].amin(0) / 2), atol=2, rtol=0)
    torch.testing.assert_close(middle[small].amax(0), high.minimum(side - size[small].amin(0) / 2), atol=2, rtol=0)


def test_a_central_box_that_is_the_image_changes_nothing() -> None:
    assert random_crop(draws(MANY), 40, 30, SCALE, RATIO, 1).equal(random_crop(draws(MANY), 40, 30, SCALE, RATIO))


def test_place_at_the_very_end_is_in_the_box() -> None:
    u = draws(200)
    u[:, -2:] = 1.0  # which a Beta variate may be
    box = random_crop(u, 32, 32, (0.05, 0.15), RATIO, 0.5)
    assert ((box[:, :2] + box[:, 2:]) / 2 <= 24).all()
    assert ((box[:, :2] + box[:, 2:]) / 2 >= 23).all()
