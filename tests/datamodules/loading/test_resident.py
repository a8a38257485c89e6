"""Images from memory and images from workers are the same, and bad ones are handled the same way."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sslab.datamodules.datamodule import DataModule
from sslab.datamodules.loading.order import ClassBalanced
from sslab.datamodules.loading.resident import bytes_needed, stand_ins
from sslab.datamodules.loading.stream import Stream
from sslab.datamodules.sources.folder import Folder
from sslab.datamodules.views.augment import Augment
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch

STD = 0.5
ROUNDING = 1.01 / 255 / STD  # of a pixel of a normalised view
VIEWS = Augment(size=6, mean=[0.5] * 3, std=[STD] * 3, jitter=0.0, grey=0.0, blur=0.0)


def module(folder: Path, held: int | None = None, batch_size: int = 4, **settings: Any) -> DataModule:
    data = DataModule(Folder(str(folder), held=held), batch_size, views=VIEWS, **settings)
    data.setup("fit")
    return data


def batches(folder: Path, **settings: Any) -> list[Batch]:
    return list(module(folder, **settings).train_dataloader())


def images(paint: Any, count: int = 14) -> None:
    for i in range(count):
        paint(f"{i:02}.png", 12, 10)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_give_what_memory_gives(paint: Any, tmp_path: Path, workers: int) -> None:
    images(paint)
    streamed = batches(tmp_path, resident=False, workers=workers)
    held = batches(tmp_path, resident=True)
    assert len(streamed) == len(held) == 3
    for from_workers, from_memory in zip(streamed, held, strict=True):
        assert from_workers.images.shape == (4, 3, 0, 0)
        assert from_memory.images.shape == (4, 3, 10, 12)
        assert from_memory.crops == ()
        for field in ("row", "key", "label", "factors", "weight", "source"):
            assert getattr(from_workers, field).equal(getattr(from_memory, field))
        for one, other in zip(VIEWS(from_workers), VIEWS(from_memory), strict=True):
            assert one.box.equal(other.box)
            torch.testing.assert_close(one.image, other.image, atol=ROUNDING, rtol=0)


def test_without_views_workers_give_whole_images(paint: Any, tmp_path: Path) -> None:
    images(paint)
    held = batches(tmp_path, resident=True)
    data = module(tmp_path, resident=False, workers=0)
    data.views = None
    assert all(a.images.equal(b.images) for a, b in zip(data.train_dataloader(), held, strict=True))


def test_what_fits_is_held(paint: Any, tmp_path: Path) -> None:
    images(paint)
    need = 14 * 3 * 10 * 12
    assert bytes_needed(Folder(str(tmp_path)).train) == need
    fits = module(tmp_path, resident_gib=need / 2**30)
    assert fits.train_images.stack is not None
    assert bytes_needed(fits.train_images) == need
    assert not isinstance(fits.train_dataloader(), Stream)
    tight = module(tmp_path, resident_gib=(need - 1) / 2**30)
    assert tight.train_images.stack is None
    assert isinstance(tight.train_dataloader(), Stream)


def test_sizes_that_differ_are_streamed_or_made_equal(paint: Any, tmp_path: Path) -> None:
    images(paint)
    paint("99.png", 5, 7)
    assert isinstance(module(tmp_path).train_dataloader(), Stream)
    assert {crop.image.shape for b in batches(tmp_path, workers=0) for crop in b.crops} == {(4, 3, 6, 6)}
    assert {b.images.shape for b in batches(tmp_path, resident=True, held=8)} == {(4, 3, 8, 8)}
    with pytest.raises(UserError, match="data.resident=true, but images differ in size .*: set data.held"):
        module(tmp_path, resident=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_many_sizes_need_views(paint: Any, tmp_path: Path, workers: int) -> None:
    for i in range(4):
        paint(f"{i}.png", 1 + i, 1)
    data = module(tmp_path, workers=workers)
    data.views = None
    with pytest.raises(UserError, match="^images differ in size and nothing crops them: set data.held [^\n]*$"):
        list(data.train_dataloader())


def test_both_parts_are_held_for_evaluation(paint: Any, tmp_path: Path) -> None:
    for i in range(6):
        paint(f"train/{'ab'[i % 2]}/{i}.png")
        paint(f"test/{'ab'[i % 2]}/{i}.png")
    data = DataModule(Folder(str(tmp_path)), 4)
    assert data.train_images.stack is None
    data.setup("fit")
    assert data.test_images is not None
    assert data.test_images.stack is None
    data.setup("test")
    assert data.train_images.stack is not None
    assert data.test_images.stack is not None
    assert data.test_images.label.tolist() == [0, 0, 0, 1, 1, 1]


def damage(folder: Path) -> list[str]:
    """Spoil three images, two of them neighbours; returns their names."""
    names = ["03.png", "04.png", "13.png"]
    whole = (folder / "03.png").read_bytes()
    for name, content in zip(names, (b"", whole[: len(whole) // 2], b"no image"), strict=True):
        (folder / name).write_bytes(content)
    return names


@pytest.mark.parametrize("settings", [{"resident": True}, {"resident": False, "workers": 2}], ids=str)
def test_a_bad_image_gives_way_to_the_next_row_and_is_named(
    paint: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    images(paint)
    order = [row for batch in batches(tmp_path, batch_size=14) for row in batch.row.tolist()]
    bad, run = damage(tmp_path), tmp_path / "run"
    run.mkdir()
    seen = batches(tmp_path, batch_size=14, max_bad=0.5, run_folder=run, **settings)
    assert seen[0].row.tolist() == [{3: 5, 4: 5, 13: 0}.get(row, row) for row in order]
    lines = (run / "bad_files.txt").read_text().splitlines()
    assert sorted(Path(line.split("\t")[0]).name for line in lines) == bad
    assert all(line.split("\t")[1] for line in lines)


@pytest.mark.parametrize("settings", [{"resident": True}, {"resident": False, "workers": 0}], ids=str)
def test_too_many_bad_images_stop_the_run(paint: Any, tmp_path: Path, settings: dict[str, Any]) -> None:
    images(paint)
    damage(tmp_path)
    message = "^3 of 14 images cannot be read, more than data.max_bad=0.2 allows [^\n]*04.png: OSError[^\n]*$"
    with pytest.raises(UserError, match=message):
        batches(tmp_path, batch_size=14, max_bad=0.2, run_folder=tmp_path, **settings)
    assert len((tmp_path / "bad_files.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize("settings", [{}, {"resident": False, "workers": 0, "max_bad": 1}], ids=str)
def test_no_readable_image_at_all(tmp_path: Path, settings: dict[str, Any]) -> None:
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"^none of the 5 (training )?images can be read: are they images\?$"):
        batches(tmp_path, **settings)


def test_a_held_bad_image_has_no_label_and_is_not_held_out(paint: Any, tmp_path: Path) -> None:
    for i in range(20):
        paint(f"{'ab'[i // 10]}/{i:02}.png")
    (tmp_path / "a" / "04.png").write_bytes(b"")
    data = DataModule(Folder(str(tmp_path), test_fraction=0), 1, holdout=19, max_bad=0.05)
    assert 4 in data.held_out
    data.setup("fit")
    assert data.train_images.label.tolist() == [*[0] * 4, -1, *[0] * 5, *[1] * 10]
    assert data.train_images.read(4).equal(data.train_images.read(5))
    assert 4 not in data.held_out


def test_a_bad_image_does_not_move_the_others_of_a_class_balanced_order(paint: Any, tmp_path: Path) -> None:
    for i in range(20):
        paint(f"{'ab'[i // 10]}/{i:02}.png")
    known = {"order": ClassBalanced(2, 3), "batch_size": 6, "max_bad": 0.2, "holdout": 4}
    whole = batches(tmp_path, **known)
    bad, rows = whole[1].row[:2], module(tmp_path, **known, resident=False).rows
    for name in Folder(str(tmp_path)).train.names.take(bad.numpy()).to_pylist():
        (tmp_path / name.decode()).write_bytes(b"")
    instead = dict(zip(rows.tolist(), stand_ins(rows, bad).tolist(), strict=True))
    for settings in ({"resident": True}, {"resident": False, "workers": 0}):
        for batch, before in zip(batches(tmp_path, **known, **settings), whole, strict=True):
            assert batch.row.tolist() == [instead[row] for row in before.row.tolist()]
            assert batch.key.equal(before.key)


def test_stand_ins_go_round_in_a_circle() -> None:
    rows = torch.tensor([2, 5, 7, 9])
    assert stand_ins(rows, torch.tensor([5, 9])).tolist() == [2, 7, 7, 2]
    assert stand_ins(rows, torch.tensor([3])).tolist() == [2, 5, 7, 9]
