from pathlib import Path
from typing import Any

import pytest
import torch
from cli import SMALL, Cli
from jaxtyping import UInt8
from sslab.datamodules.datamodule import DataModule
from sslab.datamodules.sources.folder import Folder
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.multi_source import Several
from sslab.datamodules.views.plain import Plain
from sslab.ssl.core.draws import keys
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch
from torch import Tensor

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
STILL: dict[str, Any] = {"jitter": 0.0, "grey": 0.0, "blur": 0.0}  # crops and flips only
ROUNDING = 1.01 / 255 / 0.5  # of a pixel of a normalised view


def large(**settings: Any) -> Augment:
    return Augment(**{"size": 24, "mean": MEAN, "std": STD, "scale": (0.3, 1.0)} | settings)


def small(**settings: Any) -> Augment:
    return large(**{"shrink": 2, "count": 3, "scale": (0.05, 0.3), "kind": "local"} | settings)


def batch_of(images: UInt8[Tensor, "b 3 H W"]) -> Batch:
    return Batch.of(images, key=keys(3, torch.arange(len(images))))


def test_views_are_those_of_the_sources_in_order_with_keys_of_their_own(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    sources = {"large": large(flip=[0.0, 1.0]), "plain": Plain(24, MEAN, STD), "small": small(flip=[0.0, 1.0])}
    batch = batch_of(images)
    views = Several(sources)(batch)
    expected = [
        view
        for number, source in enumerate(sources.values())
        for view in source(batch._replace(key=keys(number, batch.key)))
    ]
    assert len(views) == len(expected) == Several(sources).count == 6
    for view, own in zip(views, expected, strict=True):
        assert torch.equal(view.image, own.image)
        assert torch.equal(view.box, own.box)
        assert torch.equal(view.flipped, own.flipped)
    assert [view.kind for view in views] == ["global"] * 3 + ["local"] * 3
    assert [view.image.shape[-1] for view in views] == [24] * 3 + [12] * 3
    assert [bool(view.flipped.any()) for view in views] == [False, True, False, False, True, False]


def test_equal_sources_draw_differently(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    a, b, c, d = Several({"one": large(), "other": large()})(batch_of(images))
    boxes = torch.stack([view.box for view in (a, b, c, d)])
    assert len(boxes.flatten(0, 1).unique(dim=0)) > 90  # of 96


def test_views_of_a_source_do_not_depend_on_how_many_another_has(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    few = Several({"large": large(count=1), "small": small()})(batch_of(images))
    many = Several({"large": large(count=4), "small": small()})(batch_of(images))
    assert all(torch.equal(a.box, b.box) for a, b in zip(few[1:], many[4:], strict=True))


@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        ({"large": large(), "small": small()}, [0, 1]),
        ({"small": small(), "large": large()}, [3, 4]),
        ({"small": small(), "plain": Plain(24, MEAN, STD)}, [3]),
        ({"small": small()}, []),
    ],
)
def test_global_views_are_the_targets(sources: dict[str, Augment | Plain], targets: list[int]) -> None:
    assert Several(sources).targets == targets


def test_a_shrunk_view_is_that_of_a_smaller_size(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    batch = batch_of(images)
    for shrunk, smaller in zip(large(shrink=3)(batch), large(size=8)(batch), strict=True):
        assert torch.equal(shrunk.image, smaller.image)
        assert torch.equal(shrunk.box, smaller.box)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_take_the_crops_that_the_device_takes(paint: Any, tmp_path: Path, workers: int) -> None:
    for i in range(12):
        paint(f"{i:02}.png", 32, 28)
    source = Several({"large": large(**STILL), "small": small(**STILL)})

    def batches(**settings: Any) -> list[Batch]:
        data = DataModule(Folder(str(tmp_path)), 4, views=source, **settings)
        data.setup("fit")
        return list(data.train_dataloader())

    streamed, held = batches(resident=False, workers=workers), batches(resident=True)
    assert len(streamed) == len(held) == 3
    for from_workers, from_memory in zip(streamed, held, strict=True):
        assert [crop.image.shape[-1] for crop in from_workers.crops] == [24, 24, 12, 12, 12]
        for one, other in zip(source(from_workers), source(from_memory), strict=True):
            assert one.box.equal(other.box)
            assert one.flipped.equal(other.flipped)
            torch.testing.assert_close(one.image, other.image, atol=ROUNDING, rtol=0)


def test_no_source_is_refused() -> None:
    with pytest.raises(UserError, match="views.sources is empty: name at least one"):
        Several({})


def test_sources_that_normalise_differently_are_refused() -> None:
    with pytest.raises(UserError, match="views.sources large, small differ in mean or std"):
        Several({"large": large(), "small": small(std=(1.0, 1.0, 1.0))})


@pytest.mark.parametrize("shrink", [5, 48])
def test_a_size_that_cannot_be_shrunk_is_refused(shrink: int) -> None:
    with pytest.raises(UserError, match=f"views.shrink is {shrink}: give a number that divides views.size, 24"):
        large(shrink=shrink)


def test_a_source_may_not_be_misspelled(cli: Cli) -> None:
    line = cli.refuse(*SMALL, "views=multicrop", "+views.sources.small.blurr=1")
    assert "views.sources.small.blurr is no argument" in line


def test_preview_shows_large_and_small_views(cli: Cli) -> None:
    run = cli.run(*SMALL, "views=multicrop", "preview=true")
    assert (run / "views.png").stat().st_size > 1000


TWO_STEPS = (*SMALL, "views=multicrop", "trainer.max_steps=2", "eval=none", "monitor=none", "data.batch_size=8")
RECIPES = {
    "infonce": ("loss=infonce",),
    "byol": ("loss=cosine", "teacher=ema", "predictor=mlp"),
    "swav": ("loss=swav", "head=prototypes", "head.frozen_epochs=0.0"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_crop_is_compared_with_the_large_ones_unless_something_else_is_said(cli: Cli, name: str) -> None:
    def weights(*arguments: str) -> dict[str, Tensor]:
        run = cli.run(*TWO_STEPS, "trainer.precision=32-true", *RECIPES[name], *arguments)
        return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    by_default, said = weights(), weights("online_views=[0,1,2,3,4,5]", "target_views=[0,1]")
    assert all(torch.equal(by_default[k], v) for k, v in said.items())
    others = weights("target_views=[0,1,2,3,4,5]")
    assert not all(torch.equal(by_default[k], v) for k, v in others.items())
