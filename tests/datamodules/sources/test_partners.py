"""Partners that a generator has made reach the views, from memory and from workers."""

import logging
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from cli import SMALL, Cli
from jaxtyping import UInt8
from PIL import Image
from sslab.datamodules.datamodule import DataModule
from sslab.datamodules.generate.shard_files import Parts
from sslab.datamodules.loading.pictures import SIDE, pictured
from sslab.datamodules.loading.resident import Resident
from sslab.datamodules.loading.stream import Stream
from sslab.datamodules.reading.images import Stack
from sslab.datamodules.sources.folder import Folder
from sslab.datamodules.sources.partners import alone_as_pair, generated_partners
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.multi_source import Several
from sslab.datamodules.views.paired import Paired
from sslab.datamodules.views.plain import Plain
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch
from torch import Tensor

SIZE = 20
STD = 0.5
ROUNDING = 1.01 / 255 / STD  # of a pixel of a normalised view
LARGE = Augment(size=8, mean=[0.5] * 3, std=[STD] * 3, jitter=0.0, grey=0.0, blur=0.0)
SMALLER = Augment(size=8, mean=[0.5] * 3, std=[STD] * 3, jitter=0.0, grey=0.0, blur=0.0, shrink=2, kind="local")
SERVED: dict[str, dict[str, Any]] = {"resident": {"resident": True}, "streamed": {"resident": False, "workers": 0}}


class Source(NamedTuple):
    train: Stack
    test: Stack | None = None

    @classmethod
    def of(cls, count: int = SIZE, side: int = 6) -> "Source":
        """Images whose pixels are their row."""
        row = torch.arange(count)
        stack = row.to(torch.uint8)[:, None, None, None].expand(-1, 3, side, side)
        return cls(Stack.of(stack, row % 2, ("even", "odd")))


def picture(value: int, side: int = 6) -> bytes:
    file = BytesIO()
    Image.new("RGB", (side, side), (value,) * 3).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, rows: dict[int, bytes] | list[tuple[int, bytes]], level: int = 300) -> str:
    """What the generator writes of these rows, three to a file."""
    folder.mkdir(exist_ok=True)
    table = [
        {"image": image, "row": row, "noise_level": level + row, "model": "", "steps": 1, "seed": 0, "sha256": ""}
        for row, image in (rows.items() if isinstance(rows, dict) else rows)
    ]
    parts = Parts(str(folder), batch_size=3, batches=1, count=len(table))
    for part in parts.missing():
        parts.write(part, table[part.start : part.stop])
    return str(folder)


@pytest.fixture
def partners(tmp_path: Path) -> str:
    """Pixels are 100 and the row; every fifth image has none."""
    return write(tmp_path / "partners", {row: picture(100 + row) for row in range(SIZE) if row % 5})


def batches(data: DataModule) -> list[Batch]:
    data.setup("fit")
    return list(data.train_dataloader())


@pytest.mark.parametrize("settings", SERVED.values(), ids=SERVED)
def test_each_row_has_its_partner_or_itself(partners: str, settings: dict[str, Any]) -> None:
    seen = torch.zeros(SIZE)
    for batch in batches(DataModule(Source.of(), 5, partners=partners, **settings)):
        has = batch.row % 5 != 0
        assert torch.equal(batch.paired, has)
        assert batch.partner.shape == (5, 3, 6, 6)
        expected = torch.where(has, 100 + batch.row, batch.row)[:, None, None, None].expand(-1, 3, 6, 6)
        assert torch.equal(batch.partner.long(), expected)
        seen[batch.row] += 1
    assert seen.tolist() == [1] * SIZE


def test_an_image_that_stands_in_has_the_partners_size() -> None:
    images = torch.arange(2, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 8) * 50
    pair = alone_as_pair(torch.full((2, 3, 10, 6), 9, dtype=torch.uint8), images, torch.tensor([True, False]))
    assert pair[:, 0, 5, 3].tolist() == [9, 50]
    assert pair.shape == (2, 3, 10, 6)


def test_the_number_without_a_partner_is_said(partners: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = DataModule(Source.of(), 5, partners=partners)
    data.setup("fit")
    assert "4 of 20 training images have no partner: both their views are real" in caplog.messages
    assert data.partners is not None
    assert data.partners.captions(torch.tensor([0, 7])) == ["no partner", "level 307"]


@pytest.mark.parametrize("settings", SERVED.values(), ids=SERVED)
def test_off_is_as_if_there_were_none(partners: str, settings: dict[str, Any]) -> None:
    views = Plain(6, [0.0] * 3, [1.0] * 3, 2)
    plain = batches(DataModule(Source.of(), 5, views=views, **settings))
    paired = batches(DataModule(Source.of(), 5, views=views, partners=partners, **settings))
    for before, after in zip(plain, paired, strict=True):
        assert before.partner.numel() == 0
        assert not before.paired.any()
        for name in ("images", "row", "key", "label", "factors", "weight", "source"):
            assert torch.equal(getattr(before, name), getattr(after, name))
        for one, other in zip(views(before), views(after), strict=True):
            assert torch.equal(one.image, other.image)


@pytest.mark.parametrize("source", [LARGE, Several({"small": SMALLER, "large": LARGE})], ids=["large", "multicrop"])
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_give_what_memory_gives(paint: Any, tmp_path: Path, source: Any, workers: int) -> None:
    """Partners of another size, one of them unreadable and some not there."""
    for row in range(12):
        paint(f"images/{row:02}.png", 16, 14)
    content = {row: paint(f"partners/{row}.png", 30, 22).read_bytes() for row in range(10)} | {3: b"broken"}
    folder, views = write(tmp_path / "made", content), Paired(source)
    made = {"partners": folder, "views": views, "max_bad": 0.2, "run_folder": tmp_path}

    def serve(**settings: Any) -> list[Batch]:
        return batches(DataModule(Folder(str(tmp_path / "images")), 4, **made, **settings))

    streamed, held = serve(resident=False, workers=workers), serve(resident=True)
    assert len(streamed) == len(held) == 3
    for from_workers, from_memory in zip(streamed, held, strict=True):
        assert (from_workers.images.numel(), from_workers.partner.numel()) == (0, 0)
        assert from_memory.partner.shape == (4, 3, 22, 30)
        assert torch.equal(from_workers.paired, (from_workers.row < 10) & (from_workers.row != 3))
        assert torch.equal(from_workers.paired, from_memory.paired)
        assert torch.equal(views.shown(from_workers), views.shown(from_memory))
        for one, other in zip(views(from_workers), views(from_memory), strict=True):
            assert one.box.equal(other.box)
            assert one.flipped.equal(other.flipped)
            torch.testing.assert_close(one.image, other.image, atol=ROUNDING, rtol=0)
    assert len((tmp_path / "bad_files.txt").read_text().splitlines()) == 1


def test_an_unreadable_partner_is_none_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    content = {row: picture(100 + row) for row in range(SIZE)} | {7: b"", 8: b"broken"}
    data = DataModule(Source.of(), SIZE, partners=write(tmp_path / "made", content), max_bad=0.2)
    [batch] = batches(data)
    assert batch.row[~batch.paired].sort().values.tolist() == [7, 8]
    assert "2 of 20 training images have no partner: both their views are real" in caplog.messages
    with pytest.raises(UserError, match="2 of 20 images cannot be read, more than data.max_bad=0.05"):
        batches(DataModule(Source.of(), SIZE, partners=str(tmp_path / "made"), max_bad=0.05))


@pytest.mark.parametrize("settings", SERVED.values(), ids=SERVED)
def test_generated_images_have_no_partner(partners: str, tmp_path: Path, settings: dict[str, Any], caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    np.savez(tmp_path / "more.npz", image=np.full((10, 6, 6, 3), 200, np.uint8))
    more = {"generated": str(tmp_path / "more.npz"), "copies": 2, "partners": partners}
    for batch in batches(DataModule(Source.of(), 10, **more, **settings)):
        assert torch.equal(batch.paired, (batch.row % 5 != 0) & (batch.source == 0))
        assert (batch.partner[batch.source == 1] == 200).all()
        assert torch.equal(batch.partner[batch.paired][:, 0, 0, 0].long(), 100 + batch.row[batch.paired])
    assert "4 of 20 training images have no partner: both their views are real" in caplog.messages


def test_the_first_of_several_variations_is_the_partner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows = [(row, picture(100 * number + row)) for number in range(2) for row in (4, 1, 2)]
    found = generated_partners(write(tmp_path / "made", rows), SIZE)
    assert [int(image[0, 0, 0]) for row in (1, 2, 4) if (image := found.read(row)) is not None] == [1, 2, 4]
    assert found.read(3) is None
    assert "6 variations of 3 images: the first of each is its partner" in caplog.messages


def test_images_and_partners_are_held_together_or_not_at_all(paint: Any, partners: str, tmp_path: Path) -> None:
    for row in range(SIZE):
        paint(f"images/{row:02}.png", 6, 6)
    one, views = 3 * 6 * 6, Paired(LARGE)

    def served(count: int) -> Resident | Stream:
        source = Folder(str(tmp_path / "images"))
        data = DataModule(source, 5, partners=partners, views=views, resident_gib=count * one / 2**30, workers=0)
        data.setup("fit")
        assert (data.train_images.stack is not None) == (count == SIZE + 16)
        return data.train_dataloader()

    assert isinstance(served(SIZE + 16), Resident)
    assert isinstance(served(SIZE + 15), Stream)


def test_partners_of_many_sizes_stream_or_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "made", {row: picture(100 + row, 6 + row) for row in range(SIZE)})
    data = DataModule(Source.of(), 5, partners=folder, views=Paired(LARGE), workers=0)
    data.setup("fit")
    assert isinstance(data.train_dataloader(), Stream)
    assert next(iter(data.train_dataloader())).paired.all()
    with pytest.raises(UserError, match="data.resident=true, but images differ in size .*: set data.held to the side"):
        DataModule(Source.of(), 5, partners=folder, resident=True).setup("fit")
    cut = DataModule(Source.of(), 5, partners=folder, resident=True, held=7)
    assert batches(cut)[0].partner.shape == (5, 3, 7, 7)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {SIZE: picture(0)},
            "has a partner for row 20, but there are 20 training images: it was made of another",
        ),
        ({-1: picture(0)}, "holds variations of nothing: train on them by data.generated"),
        ({-1: picture(0), 0: picture(0)}, "has a partner for row -1"),
    ],
)
def test_rows_of_other_images_are_refused(tmp_path: Path, rows: dict[int, bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DataModule(Source.of(), 5, partners=write(tmp_path / "made", rows))


def test_what_is_no_such_folder_is_refused(tmp_path: Path) -> None:
    for name in ("nowhere", "."):
        with pytest.raises(UserError, match="holds no parquet files: give the folder that `python -m sslab"):
            DataModule(Source.of(), 5, partners=str(tmp_path / name))
    made = Path(write(tmp_path / "made", {0: picture(0)}))
    pq.write_table(pq.read_table(made).drop_columns(["row"]), made / "part-000000.parquet")
    with pytest.raises(UserError, match="has no column row but image, noise_level, model"):
        DataModule(Source.of(), 5, partners=str(made))
    (made / "part-000000.parquet").write_bytes(b"none")
    with pytest.raises(UserError, match="is not a parquet file that can be read"):
        DataModule(Source.of(), 5, partners=str(made))


def test_paired_views_need_partners() -> None:
    with pytest.raises(UserError, match="views=paired, but no image has a partner: set data.partners=.* or data=pairs"):
        DataModule(Source.of(), 5, views=Paired(LARGE))


def test_pictures_are_read_again_where_workers_took_the_crops(partners: str) -> None:
    data = DataModule(Source.of(), 5, partners=partners, views=Paired(LARGE), resident=False, workers=0)
    batch = batches(data)[0]
    again = pictured(batch, data.train_images, data.partners, 3)
    assert again.images.shape == again.partner.shape == (3, 3, SIDE, SIDE)
    assert again.images[:, 0, 0, 0].tolist() == batch.row[:3].tolist()
    assert (
        again.partner[:, 0, 0, 0].tolist() == torch.where(batch.row % 5 == 0, batch.row, batch.row + 100)[:3].tolist()
    )
    held = Batch.of(torch.zeros(5, 3, 6, 6, dtype=torch.uint8))
    assert pictured(held, data.train_images, data.partners, 3) is held


@pytest.fixture
def variations(generate: Cli) -> str:
    result = generate("trainer=cpu", *SMALL[1:3], "generator=variant", "generator.levels=400", "limit=500", "out=made")
    assert result.code == 0, result.err
    return "data.partners=made"


def test_what_the_generator_has_made_is_seen_in_a_preview(cli: Cli, variations: str) -> None:
    def page(*arguments: str) -> UInt8[Tensor, "h w 3"]:
        file = cli.run(*SMALL, variations, "preview=true", *arguments) / "views.png"
        return torch.from_numpy(np.array(Image.open(file)))

    views = ("views=paired", "views@views.source=multicrop", "views.source.sources.small.count=1")
    held, streamed = page(*views), page(*views, "data.resident=false", "data.workers=0")
    width = 96 + 2 * 4
    assert held.shape == streamed.shape == (16 * width, 5 * width, 3)  # original, partner, three views
    inside = (slice(30, 80), slice(2 * width + 10, 4 * width - 10))  # of the first image, without frames
    assert (streamed[inside].int() - held[inside].int()).abs().max() <= 3


def test_variations_of_another_data_set_are_refused(cli: Cli, variations: str) -> None:
    line = cli.refuse(*SMALL, variations, "views=paired", "data.texture=mild")
    assert "data.partners=made holds variations of other images" in line
    assert "views=paired, but no image has a partner" in cli.refuse(*SMALL, "views=paired")
