"""One view of an image is of its partner, and nothing else changes."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import UInt8
from scipy.stats import chisquare
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.multi_source import Several
from sslab.datamodules.views.paired import Paired
from sslab.datamodules.views.plain import Plain
from sslab.ssl.core.draws import keys
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, View

MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
STILL: dict[str, Any] = {"jitter": 0.0, "grey": 0.0, "blur": 0.0}  # crops and flips only


def large(**settings: Any) -> Augment:
    return Augment(**{"size": 16, "mean": MEAN, "std": STD, "scale": (0.3, 1.0)} | settings)


def multicrop(**settings: Any) -> Several:
    small = large(shrink=2, count=3, scale=(0.05, 0.3), kind="local", **settings)
    return Several({"small": small, "large": large(**settings)})


SOURCES = {"augment": large(), "four": large(count=4), "plain": Plain(16, MEAN, STD, 2), "multicrop": multicrop()}


def pairs_of(images: UInt8[torch.Tensor, "b 3 H W"], side: int = 30) -> Batch:
    """A batch with negatives as partners, but for every fourth image."""
    row = torch.arange(len(images))
    partner = 255 - torch.nn.functional.interpolate(images, (side, side))
    return Batch.of(images, key=keys(3, row), partner=partner, paired=row % 4 != 0)


def equal(one: View, other: View) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True)) and one.kind == other.kind


@pytest.mark.parametrize("source", [large(**STILL), Plain(16, MEAN, STD, 2), multicrop(**STILL)], ids=["a", "p", "m"])
def test_the_view_that_is_picked_shows_the_partner(source: Any) -> None:
    white = torch.full((200, 3, 20, 24), 255, dtype=torch.uint8)
    paired = Paired(source)
    batch = Batch.of(white, partner=torch.zeros(200, 3, 30, 18, dtype=torch.uint8), paired=torch.arange(200) > 20)
    views, shown = paired(batch), paired.shown(batch)
    assert (shown[:21] == -1).all()
    assert set(shown[21:].tolist()) == set(source.targets)
    for number, view in enumerate(views):
        of_image = (shown != number).float()[:, None, None, None]
        torch.testing.assert_close(view.image, of_image.expand_as(view.image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SOURCES)
def test_everything_else_is_as_the_source_has_it(images: UInt8[torch.Tensor, "24 3 40 52"], name: str) -> None:
    source, batch = SOURCES[name], pairs_of(images)
    shown = Paired(source).shown(batch)
    of_partners = source(batch._replace(images=batch.partner))
    for number, (view, own, other) in enumerate(zip(Paired(source)(batch), source(batch), of_partners, strict=True)):
        rows = shown == number
        assert torch.equal(view.image[~rows], own.image[~rows])
        assert torch.equal(view.box[~rows], own.box[~rows])
        torch.testing.assert_close(view.image[rows], other.image[rows], atol=1e-5, rtol=0)
        assert torch.equal(view.box[rows], other.box[rows])  # on the image that was cropped
        assert torch.equal(view.flipped, own.flipped)
        assert view.kind == own.kind


@pytest.mark.parametrize("name", SOURCES)
def test_without_partners_it_is_the_source_bit_for_bit(images: UInt8[torch.Tensor, "24 3 40 52"], name: str) -> None:
    source, batch = SOURCES[name], pairs_of(images)
    nobody = batch._replace(paired=torch.zeros(24, dtype=torch.bool))
    views = [
        Paired(source, probability=0.0)(batch),
        Paired(source)(nobody),
        Paired(source)(Batch.of(images, key=batch.key)),
    ]
    for these in views:
        assert all(equal(a, b) for a, b in zip(these, source(batch), strict=True))
    paired = Paired(source)
    assert (paired.count, paired.targets, paired.sides) == (source.count, source.targets, source.sides)
    assert (paired.mean, paired.std) == (source.mean, source.std)


@pytest.mark.parametrize("name", SOURCES)
def test_some_views_are_those_of_all(images: UInt8[torch.Tensor, "24 3 40 52"], name: str) -> None:
    source, batch = SOURCES[name], pairs_of(images)
    whole, numbers = source(batch), range(0, source.count, 2)
    for view, number in zip(source.some(batch, numbers), numbers, strict=True):
        assert equal(view, whole[number])
    for view, number in zip(Paired(source).some(batch, numbers), numbers, strict=True):
        assert equal(view, Paired(source)(batch)[number])
    taken = [source.crop_one(images[0], batch.key[0], view) for view in range(source.count)]
    crops = batch._replace(images=images[:1, :, :0, :0], key=batch.key[:1], crops=tuple(taken))
    for view, number in zip(source.some(crops, numbers), numbers, strict=True):
        assert equal(view, source(crops)[number])


@pytest.mark.parametrize("count", [2, 3])
def test_every_target_is_picked_as_often(count: int) -> None:
    picked = Paired(large(count=count)).partner_view(keys(0, torch.arange(9000)))
    assert chisquare(picked.bincount(minlength=count)).pvalue > 1e-3
    some = Paired(large(count=count), probability=0.25).partner_view(keys(0, torch.arange(9000)))
    assert chisquare([(some >= 0).sum(), (some < 0).sum()], [2250, 6750]).pvalue > 1e-3
    assert chisquare(some[some >= 0].bincount(minlength=count)).pvalue > 1e-3


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_the_pick_is_the_keys_alone(key: list[int], a: float, b: float) -> None:
    low, high = (Paired(multicrop(), p).partner_view(torch.tensor(key)) for p in sorted((a, b)))
    assert set(high.tolist()) <= {-1, *multicrop().targets}
    assert torch.equal(low, high.where(low >= 0, -1))  # a smaller probability leaves some out and moves none
    alone = torch.cat([Paired(multicrop(), max(a, b)).partner_view(torch.tensor([one])) for one in key])
    assert torch.equal(alone, high)


def test_it_is_refused_without_large_views_or_with_no_probability() -> None:
    with pytest.raises(UserError, match="views.source has no large view"):
        Paired(large(kind="local"))
    for probability in (-0.1, 1.1):
        with pytest.raises(UserError, match=f"views.probability is {probability}: it must lie between 0 and 1"):
            Paired(large(), probability)
