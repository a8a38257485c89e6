from math import hypot

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.multi_source import Several
from sslab.ssl.core.draws import keys
from sslab.ssl.core.step import Batch, Crop, View
from sslab.ssl.losses.ops.pixel_pairs import bins, positives
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

WHOLE = [0.0, 0.0, 1.0, 1.0]


def view(*boxes: list[float], flipped: bool = False) -> View:
    box = torch.tensor(boxes, dtype=torch.float64)
    return View(torch.zeros(len(boxes), 3, 0, 0), box, torch.full((len(boxes),), flipped))


def same(a: View, b: View, side: int = 7, radius: float = 0.7) -> Tensor:
    """The positives of the first image."""
    return positives(a, b, (side, side), (side, side), radius)[0]


def mirrored(side: int) -> Tensor:
    return torch.arange(side**2).unflatten(0, (side, side)).flip(1).flatten()


@pytest.mark.parametrize("box", [WHOLE, [0.25, 0.5, 0.5, 0.75]])
def test_the_same_crop_gives_every_pixel_itself(box: list[float]) -> None:
    assert torch.equal(same(view(box), view(box)), torch.eye(49) == 1)
    both = same(view(box, flipped=True), view(box, flipped=True))
    assert torch.equal(both, torch.eye(49) == 1)


def test_neighbours_are_just_outside() -> None:
    assert same(view(WHOLE), view(WHOLE), radius=0.708).sum() == 49 + 2 * 2 * 6 * 7


def test_a_flip_mirrors_the_columns() -> None:
    pairs = same(view(WHOLE), view(WHOLE, flipped=True))
    assert torch.equal(pairs, (torch.eye(49) == 1)[:, mirrored(7)])


def test_crops_that_do_not_meet_have_no_positives() -> None:
    assert not same(view([0.0, 0.0, 0.4, 0.4]), view([0.6, 0.6, 1.0, 1.0])).any()


def test_the_larger_bin_says_what_is_near() -> None:
    """Of a quarter of the image, the pixels that touch the next quarter are its first pixel's too."""
    pairs = positives(view(WHOLE), view([0.0, 0.0, 0.5, 0.5]), (2, 2), (2, 2), 0.7)[0]
    right, below = [False, True, False, True], [False, False, True, True]
    assert pairs.tolist() == [[True] * 4, right, below, [False] * 4]


def centre(box: list[float], flipped: bool, shape: tuple[int, int], pixel: int) -> tuple[float, float]:
    row, column = divmod(pixel, shape[1])
    column = shape[1] - 1 - column if flipped else column
    x = box[0] + (box[2] - box[0]) * (column + 0.5) / shape[1]
    return x, box[1] + (box[3] - box[1]) * (row + 0.5) / shape[0]


corners = st.tuples(*[st.floats(0, 0.7)] * 2, *[st.floats(0.1, 0.3)] * 2).map(
    lambda c: [c[0], c[1], c[0] + c[2], c[1] + c[3]]
)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=50, deadline=None)
@given(boxes=st.tuples(corners, corners), flipped=st.tuples(st.booleans(), st.booleans()), of=st.tuples(shapes, shapes))
def test_positives_are_those_of_the_definition(boxes, flipped, of) -> None:
    found = positives(*(view(box, flipped=flip) for box, flip in zip(boxes, flipped, strict=True)), *of, 0.7)[0]
    diagonals = [hypot((b[2] - b[0]) / w, (b[3] - b[1]) / h) for b, (h, w) in zip(boxes, of, strict=True)]
    for i, row in enumerate(found.tolist()):
        for j, positive in enumerate(row):
            one, other = (centre(*about) for about in zip(boxes, flipped, of, (i, j), strict=True))
            distance = hypot(one[0] - other[0], one[1] - other[1]) / max(diagonals)
            assert positive == (distance < 0.7) or abs(distance - 0.7) < 1e-9


def ramps(height: int, width: int) -> Tensor:
    """Images whose first two channels say where each pixel lies, x and y in parts of 255."""
    x, y = ((torch.arange(n) + 0.5) / n * 255 for n in (width, height))
    place = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width), torch.zeros(height, width)])
    return place.round().byte().expand(32, 3, height, width)


@pytest.mark.parametrize("by_workers", [False, True])
def test_bins_lie_where_views_show_that_they_do(by_workers: bool) -> None:
    """Views of images of their own coordinates, pooled to a map: the bins of small crops and of oblong images too."""
    still = {"mean": [0.0] * 3, "std": [1.0] * 3, "jitter": 0, "grey": 0, "blur": 0, "scale": [0.1, 0.8]}
    source = Several({"large": Augment(28, **still), "small": Augment(28, shrink=2, count=1, **still)})
    images = ramps(80, 100)
    batch = Batch.of(images, key=keys(0, torch.arange(32)))
    if by_workers:
        taken = [[source.crop_one(i, k, v) for i, k in zip(images, batch.key, strict=True)] for v in range(3)]
        crops = tuple(Crop(*map(torch.cat, zip(*crop, strict=True))) for crop in taken)
        batch = batch._replace(images=images.new_empty(32, 3, 0, 0), crops=crops)
    for view in source(batch):
        shown = adaptive_avg_pool2d(view.image[:, :2], 7).flatten(2).mT
        torch.testing.assert_close(bins(view, (7, 7)).centre, shown, rtol=0, atol=0.006)  # a step of 1/255, and borders
        assert 0 < view.flipped.sum() < 32
