import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import UInt8
from scipy.stats import beta
from sslab.datamodules.views import augment
from sslab.datamodules.views import validate as limits
from sslab.datamodules.views.augment import Augment
from sslab.ssl.config import signature
from sslab.ssl.core.draws import keys
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Crop, View
from torch import Tensor
from torch.nn.functional import grid_sample

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
STILL: dict[str, Any] = {"flip": 0, "jitter": 0, "grey": 0, "blur": 0}  # crops only


def views_of(**settings: Any) -> Augment:
    return Augment(**{"size": 24, "mean": MEAN, "std": STD} | settings)


def batch_of(images: UInt8[Tensor, "b 3 H W"]) -> Batch:
    return Batch.of(images, key=keys(3, torch.arange(len(images))))


def pixels(view: View) -> Tensor:
    return view.image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]


@pytest.mark.parametrize("count", range(1, 7))
def test_count(images: UInt8[Tensor, "24 3 40 52"], count: int) -> None:
    views = views_of(count=count, kind="local")(batch_of(images))
    assert len(views) == count
    for view in views:
        assert view.image.shape == (24, 3, 24, 24)
        assert view.image.dtype == torch.float32
        assert view.flipped.dtype == torch.bool
        assert view.kind == "local"
    assert len({tuple(view.box[0].tolist()) for view in views}) == count


def test_the_first_views_do_not_depend_on_the_count(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    two, three = views_of(count=2)(batch_of(images)), views_of(count=3)(batch_of(images))
    for a, b in zip(two, three, strict=False):
        torch.testing.assert_close(a.image, b.image, atol=1e-5, rtol=0)
        assert torch.equal(a.box, b.box)


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.integers(0, 23), min_size=1, max_size=30), size=st.sampled_from([24, 72]))
def test_a_view_does_not_depend_on_the_rest_of_the_batch(rows: list[int], size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    whole = batch_of(torch.randint(0, 256, (24, 3, 16, 20), generator=generator, dtype=torch.uint8))
    some = Batch.of(whole.images[rows], key=whole.key[rows])
    source = views_of(size=size, solarise=0.3)
    for a, b in zip(source(whole), source(some), strict=True):
        torch.testing.assert_close(a.image[rows], b.image, atol=1e-4, rtol=0)
        assert torch.equal(a.box[rows], b.box)
        assert torch.equal(a.flipped[rows], b.flipped)


def test_each_image_has_its_own_randomness(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    view = views_of(count=1)(batch_of(images[2:3].expand(64, 3, 40, 52)))[0]
    assert len(view.image.flatten(1).unique(dim=0)) == 64
    assert 15 < view.flipped.sum() < 49


def test_autocast_and_global_seed_change_nothing(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    source, batch = views_of(), batch_of(images)
    plain = source(batch)
    state = torch.random.get_rng_state()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = source(batch)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a.image, b.image) for a, b in zip(plain, mixed, strict=True))


def test_a_network_can_be_trained_on_views(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    network = torch.nn.Conv2d(3, 2, 3)
    with torch.no_grad():
        views = views_of()(batch_of(images))
    torch.stack([network(view.image).mean() for view in views]).sum().backward()
    assert network.weight.grad is not None
    assert network.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [24, 72])
def test_box_and_flip_say_where_each_pixel_comes_from(size: int) -> None:
    ramp = torch.stack(torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij"))  # y, x
    images = torch.cat([ramp * 4, torch.zeros(1, 60, 60)]).byte().expand(32, 3, 60, 60)
    for view in views_of(size=size, scale=[0.2, 0.6], **STILL | {"flip": 0.5})(batch_of(images)):
        x0, y0, x1, y1 = view.box[:, :, None].unbind(1)
        along = (torch.arange(size) + 0.5) / size
        x = x0 + (x1 - x0) * torch.where(view.flipped[:, None], 1 - along, along)
        y = y0 + (y1 - y0) * along
        grid = torch.stack([x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], 3) * 2 - 1
        origin = grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
        inner = slice(size // 8, -size // 8)  # at its border a crop does not look at what lies beyond
        error = (pixels(view) * 255 - origin)[:, :, inner, inner].abs()
        assert error.max() < 1
        assert view.flipped.any()
        assert not view.flipped.all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [24, 72])
def test_crops_of_workers_are_those_of_the_device(
    images: UInt8[Tensor, "24 3 40 52"], size: int, interpolation: str
) -> None:
    source = views_of(size=size, count=3, interpolation=interpolation, **STILL | {"flip": 0.5})
    batch = batch_of(images)
    taken = [[source.crop_one(i, k, view) for i, k in zip(images, batch.key, strict=True)] for view in range(3)]
    crops = tuple(Crop(*map(torch.cat, zip(*view, strict=True))) for view in taken)
    streamed = batch._replace(images=images.new_empty(24, 3, 0, 0), crops=crops)
    for a, b in zip(source(batch), source(streamed), strict=True):
        assert (pixels(a) - pixels(b)).abs().max() * 255 < 1.15  # rounded twice, by weights that bicubic sums to 1.25
        torch.testing.assert_close(a.box, b.box)
        assert torch.equal(a.flipped, b.flipped)


def test_probabilities_by_view(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    batch = batch_of(images)
    settings = STILL | {"scale": [1, 1], "ratio": [1, 1], "count": 3}
    plain = views_of(**settings)(batch)
    flips = views_of(**settings | {"flip": [1.0, 0]})(batch)
    assert [view.flipped.float().mean().item() for view in flips] == [1, 0, 1]
    for name in ("blur", "solarise", "grey", "jitter"):
        views = views_of(**settings | {name: [0, 1.0]})(batch)
        changed = [
            ((a.image - b.image).abs() > 1e-5).flatten(1).any(1).sum().item() for a, b in zip(views, plain, strict=True)
        ]
        assert changed[0] == changed[2] == 0, name
        assert changed[1] >= 22, name  # a flat or grey image may stay as it is


def test_bicubic_crops_are_sharper(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    linear, cubic = (
        pixels(views_of(interpolation=interpolation, **STILL)(batch_of(images))[0])
        for interpolation in ("bilinear", "bicubic")
    )
    assert (cubic.diff().pow(2).sum() / linear.diff().pow(2).sum()) > 1.05
    assert cubic.min() > -1e-6
    assert cubic.max() < 1 + 1e-6


def test_the_default_blur_is_three_sigmas_wide_at_any_size(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    for size, sigma, side in ((32, 2.0, 13), (64, 2.0, 13), (32, 1.0, 7), (8, 2.0, 13), (4, 2.0, 7), (1, 2.0, 1)):
        settings = {"size": size, "blur": 1.0, "blur_sigma": [0.1, sigma]}
        default, same = (views_of(**settings, **more)(batch_of(images)) for more in ({}, {"blur_kernel": side}))
        assert all(torch.equal(a.image, b.image) for a, b in zip(default, same, strict=True)), size


def test_solarise_inverts_what_is_bright(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    settings = STILL | {"scale": [1, 1], "count": 1}
    x = pixels(views_of(**settings)(batch_of(images))[0])
    solarised = pixels(views_of(**settings, solarise=1.0, solarise_threshold=0.3)(batch_of(images))[0])
    torch.testing.assert_close(solarised, torch.where(x >= 0.3, 1 - x, x), atol=1e-5, rtol=0)


def test_the_size_of_chunks_changes_nothing(
    images: UInt8[Tensor, "24 3 40 52"], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, batch = views_of(solarise=0.5), batch_of(images)
    whole = source(batch)
    monkeypatch.setattr(augment, "CPU_CHUNK", 1)
    for a, b in zip(whole, source(batch), strict=True):
        torch.testing.assert_close(a.image, b.image, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"scale": [0.9, 0.2]}, "views.scale is [0.9, 0.2]: give the smaller number first"),
        ({"scale": [0.1, 1.2]}, "views.scale is [0.1, 1.2]: it must lie between 0 and 1"),
        ({"scale": [0.5]}, "views.scale is [0.5]: give 2 numbers"),
        ({"ratio": [2, 1]}, "views.ratio is [2, 1]: give the smaller number first"),
        ({"size": 0}, "views.size is 0: it must be at least 1"),
        ({"count": 0}, "views.count is 0: it must be at least 1"),
        ({"flip": 1.5}, "views.flip is 1.5: it must lie between 0 and 1"),
        ({"blur": [1.0, -0.1]}, "views.blur is [1.0, -0.1]: it must lie between 0 and 1"),
        ({"grey": []}, "views.grey is []: it must lie between 0 and 1"),
        ({"hue": 0.6}, "views.hue is 0.6: it must lie between 0 and 0.5"),
        ({"brightness": -1}, "views.brightness is -1: it must be at least 0"),
        ({"blur_kernel": 4}, "views.blur_kernel is 4: give an odd number below 48, twice views.size"),
        ({"blur_kernel": 0}, "views.blur_kernel is 0: give an odd number below 48, twice views.size"),
        ({"mean": [0.5]}, "views.mean is [0.5]: give 3 numbers"),
    ],
)
def test_settings_that_cannot_be(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        views_of(**setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"interpolation": "nearest"}, "views.interpolation is nearest: give bilinear or bicubic"),
        ({"kind": "large"}, "views.kind is large: give global or local"),
    ],
)
def test_choices_that_are_none(setting: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        limits.check(SimpleNamespace(**setting))  # tests check types, so that no Augment comes so far
    with pytest.raises(UserError, match=f"views.{[*setting][0]}=.* expected Literal"):
        signature.check({"_target_": "sslab.datamodules.views.augment.Augment", **setting}, "views")


def test_crops_of_another_count(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    crop = Crop(images, torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(24, 4))
    with pytest.raises(UserError, match="the batch holds 3 crops of each image but views.count is 2"):
        views_of()(Batch.of(images, crops=(crop, crop, crop)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("size", [24, 72])
def test_a_gpu_gives_the_same_views(images: UInt8[Tensor, "24 3 40 52"], size: int) -> None:
    source, batch = views_of(size=size, solarise=0.3), batch_of(images)
    moved = batch._replace(images=images.cuda(), key=batch.key.cuda())
    for a, b in zip(source(batch), source(moved), strict=True):
        assert torch.equal(a.flipped, b.flipped.cpu())
        torch.testing.assert_close(a.box, b.box.cpu())
        assert (a.image - b.image.cpu()).abs().mean() < 0.01


def test_a_suppressed_centre_moves_the_crops_of_its_view_alone(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    many = Batch.of(images[:1].expand(2000, -1, -1, -1), key=keys(0, torch.arange(2000)))
    plain, moved = views_of(scale=(0.1, 0.3)), views_of(scale=(0.1, 0.3), centre=[0.5, 1], centre_alpha=[0.1, 1])
    (usual, second), (away, same) = ([v.box for v in source(many)] for source in (plain, moved))
    assert torch.equal(second, same)
    torch.testing.assert_close(usual[:, 2:] - usual[:, :2], away[:, 2:] - away[:, :2])  # as large as ever
    middle = (away[:, :2] + away[:, 2:]) / 2
    assert ((middle >= 0.25) & (middle <= 0.75)).all()
    outer = ((middle - 0.5).abs() > 0.15).double().mean().item()  # the outer fifths of the box: 88 %, not 40 %
    assert abs(outer - 2 * beta(0.1, 0.1).cdf(0.2)) < 0.03


def test_workers_take_the_crops_of_a_suppressed_centre(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    source, batch = views_of(centre=0.5, centre_alpha=0.1, **STILL), batch_of(images)
    for number, view in enumerate(source(batch)):
        boxes = [source.crop_one(image, key, number).box for image, key in zip(images, batch.key, strict=True)]
        torch.testing.assert_close(torch.cat(boxes), view.box)
