"""A table of pairs, as bytes or as paths."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cli import Cli
from sslab.datamodules.datamodule import DataModule
from sslab.datamodules.reading.decode import decode
from sslab.datamodules.sources.pairs import Pairs
from sslab.datamodules.sources.partners import PairSource
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.paired import Paired
from sslab.ssl.core.errors import UserError

ROWS, ALONE = 10, {2, 3, 9}
VIEWS = Paired(Augment(size=6, mean=[0.5] * 3, std=[0.5] * 3, jitter=0.0, grey=0.0, blur=0.0))


@pytest.fixture(params=["bytes", "records", "paths"])
def table(request: pytest.FixtureRequest, paint: Any, tmp_path: Path) -> str:
    """Ten pairs of two classes, three of them without a partner."""
    images = [paint(f"frames/{row}a.png", 12, 10) for row in range(ROWS)]
    partners = [None if row in ALONE else paint(f"frames/{row}b.png", 14, 8) for row in range(ROWS)]
    label = ["cat", "dog"] * 5
    if request.param == "paths":
        lines = [
            f"{kind},{image.relative_to(tmp_path)},{partner or ''}"  # partners by absolute paths
            for kind, image, partner in zip(label, images, partners, strict=True)
        ]
        (tmp_path / "pairs.csv").write_text("\n".join(["label,image,partner", *lines]))
        return str(tmp_path / "pairs.csv")
    content: list[Any] = [b"" if row == 2 else p and p.read_bytes() for row, p in enumerate(partners)]
    if request.param == "records":
        content = [c if c is None else {"bytes": c, "path": "x"} for c in content]
    columns = {"image": [image.read_bytes() for image in images], "partner": content, "label": label}
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet", row_group_size=4)
    return str(tmp_path / "pairs.parquet")


def test_every_row_has_its_own_partner(table: str, tmp_path: Path) -> None:
    source = Pairs(table)
    assert isinstance(source, PairSource)
    assert source.test is None
    assert source.train.classes == ("cat", "dog")
    assert source.train.label.tolist() == [0, 1] * 5
    assert len(source.train) == ROWS
    for row in range(ROWS):
        partner = source.partners.read(row)
        assert torch.equal(source.train.read(row), decode("", tmp_path / f"frames/{row}a.png"))
        if row in ALONE:
            assert partner is None
        else:
            assert partner is not None
            assert torch.equal(partner, decode("", tmp_path / f"frames/{row}b.png"))
    assert source.partners.missing(torch.ones(ROWS, dtype=torch.bool)) == 3
    assert source.partners.captions(torch.arange(3)) == ["", "", "no partner"]


@pytest.mark.parametrize("settings", [{"resident": True}, {"resident": False, "workers": 0}], ids=["held", "streamed"])
def test_partners_reach_the_views(table: str, settings: dict[str, Any]) -> None:
    data = DataModule(Pairs(table), ROWS, views=VIEWS, **settings)
    data.setup("fit")
    [batch] = data.train_dataloader()
    assert set(batch.row[~batch.paired].tolist()) == ALONE
    assert {int(row) for row, view in zip(batch.row, VIEWS.shown(batch), strict=True) if view < 0} == ALONE
    assert all(view.image.isfinite().all() for view in VIEWS(batch))


def test_a_test_part_and_other_columns(table: str) -> None:
    source = Pairs(table, table, image="partner", partner="image")
    assert source.test is not None
    assert source.test.label.tolist() == source.train.label.tolist()
    assert source.partners.missing(torch.ones(ROWS, dtype=torch.bool)) == 0
    assert Pairs(table, held=5).partners.images.read(0).shape == (3, 5, 5)


def test_a_table_without_labels(paint: Any, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(f"before,after\n{paint('a.png').name},{paint('b.png').name}\n")
    source = Pairs(str(tmp_path / "pairs.csv"), image="before", partner="after")
    assert source.train.label.tolist() == [-1]
    assert source.partners.read(0) is not None


def test_tables_that_cannot_be_used_are_refused(paint: Any, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    with pytest.raises(UserError, match="pairs.csv is no CSV file that can be read"):
        Pairs(str(file))
    file.write_text("image,after\na,b\n")
    with pytest.raises(UserError, match="pairs.csv has no column partner but image, after: set data.image"):
        Pairs(str(file))
    file.write_text("image,partner\n")
    with pytest.raises(UserError, match="pairs.csv has no rows"):
        Pairs(str(file))
    file.write_text("image,partner\na,\n")
    with pytest.raises(UserError, match="no training image has a partner"):
        Pairs(str(file))
    content = paint("a.png").read_bytes()
    pq.write_table(pa.table({"image": [content], "other": [content]}), tmp_path / "pairs.parquet")
    with pytest.raises(UserError, match="data.partner=partner is no column of bytes: image, other of the columns"):
        Pairs(str(tmp_path / "pairs.parquet"))
    pairs = Pairs(str(tmp_path / "pairs.parquet"), partner="other")
    with pytest.raises(UserError, match="data.partners=made, but the images of data have partners already"):
        DataModule(pairs, 1, partners="made")


@pytest.mark.slow
def test_a_run_on_pairs(cli: Cli, paint: Any) -> None:
    lines = [f"{paint(f'{row}a.png', 20, 20).name},{paint(f'{row}b.png', 24, 24).name}" for row in range(16)]
    (cli.folder / "pairs.csv").write_text("\n".join(["image,partner", *lines]))
    few = (
        "trainer=cpu",
        "data.batch_size=8",
        "trainer.max_steps=2",
        "trainer.log_every=1",
        "eval=none",
        "monitor=none",
    )
    run = cli.run("data=pairs", "data.train=pairs.csv", "views=paired", *few)
    assert "0 of 16 training images have no partner" in (run / "log.txt").read_text()
