import json
import pickle
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sslab.datamodules.reading.images import BadImage
from sslab.datamodules.sources.parquet import Parquet
from sslab.ssl.core.errors import UserError

ROWS = 10


def png(value: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (4, 3), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, first: int = 0, metadata: dict[str, str] | None = None, **columns: Sequence[Any]) -> str:
    """A file of ROWS images, red as far as their row, in row groups of 3."""
    table = pa.table({"image": [png(first + i) for i in range(ROWS)]} | columns)
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=3)
    return str(path)


def reds(table: Any) -> list[int]:
    return [int(table.read(row)[0, 0, 0]) for row in range(len(table))]


def test_rows_are_images_in_order_through_groups_and_files(tmp_path: Path) -> None:
    for part in range(3):
        write(tmp_path / f"{part}.parquet", first=part * ROWS, label=[part] * ROWS)
    source = Parquet(str(tmp_path / "*.parquet"))
    assert source.train.read(0).shape == (3, 3, 4)
    assert reds(source.train) == list(range(30))
    assert source.train.label.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert source.test is None


def test_a_small_cache_gives_the_same_images_in_any_order(tmp_path: Path) -> None:
    table = Parquet(write(tmp_path / "a.parquet"), cache_mib=0).train
    order = [9, 0, 5, 5, 1, 8, 2]
    assert [int(table.read(row)[0, 0, 0]) for row in order] == order
    assert len(table.cache) == 1
    copy = pickle.loads(pickle.dumps(table))
    assert copy.cache == {}
    assert reds(copy) == list(range(ROWS))


def test_records_as_hugging_face_writes_them(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog", "owl"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    image = [{"bytes": png(i), "path": f"{i}.png"} for i in range(ROWS)]
    path = write(tmp_path / "a.parquet", metadata=metadata, image=image, label=[0, 1] * 5)
    table = Parquet(path).train
    assert reds(table) == list(range(ROWS))
    assert table.classes == ("cat", "dog", "owl")
    assert table.label.tolist() == [0, 1] * 5


def test_labels_may_be_strings_and_missing(tmp_path: Path) -> None:
    train = write(tmp_path / "a.parquet", label=["dog", "cat", None, "cat", "dog"] * 2)
    test = write(tmp_path / "b.parquet", label=["owl"] * ROWS)
    source = Parquet(train, test)
    assert source.train.classes == ("cat", "dog", "owl")
    assert source.train.label.tolist() == [1, 0, -1, 0, 1] * 2
    assert source.test is not None
    assert source.test.label.tolist() == [2] * ROWS


def test_labels_of_train_and_test_are_of_one_kind(tmp_path: Path) -> None:
    train, test = write(tmp_path / "a.parquet", label=[0, 1] * 5), write(tmp_path / "b.parquet", label=["cat"] * ROWS)
    with pytest.raises(UserError, match="column label holds both 1 and 'cat': give one kind of value"):
        Parquet(train, test)


def test_labels_may_have_gaps_or_be_absent(tmp_path: Path) -> None:
    table = Parquet(write(tmp_path / "a.parquet", target=[100, -1, 7, 7, 7] * 2)).train
    assert table.classes == ("7", "100")
    assert table.label.tolist() == [1, -1, 0, 0, 0] * 2
    bare = write(tmp_path / "b.parquet")
    assert Parquet(bare).train.label.tolist() == [-1] * ROWS
    source = Parquet(str(tmp_path / "a.parquet"), bare)
    assert source.test is not None
    assert source.test.label.tolist() == [-1] * ROWS


def test_columns_can_be_named(tmp_path: Path) -> None:
    other = [png(200 + i) for i in range(ROWS)]
    path = write(tmp_path / "a.parquet", thumbnail=other, label=[0] * ROWS, breed=[1, 2] * 5)
    with pytest.raises(UserError, match="image, thumbnail of the columns image, thumbnail, label, breed would do"):
        Parquet(path)
    table = Parquet(path, image="thumbnail", label="breed").train
    assert reds(table) == list(range(200, 210))
    assert table.label.tolist() == [0, 1] * 5
    with pytest.raises(UserError, match="data.image=label is no column of bytes"):
        Parquet(path, image="label")
    with pytest.raises(UserError, match="data.label=colour is no column of integers or strings"):
        Parquet(path, image="image", label="colour")


def test_a_bad_image_is_named_by_its_place(tmp_path: Path) -> None:
    images = [png(0), None, b"", b"no image", *[png(0)] * 6]
    table = Parquet(write(tmp_path / "a.parquet", image=images)).train
    for row, place in ((1, "row 1 of group 0"), (2, "row 2 of group 0"), (3, "row 0 of group 1")):
        with pytest.raises(BadImage, match=rf"a.parquet \({place}\)"):
            table.read(row)


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.train=.*\*.parquet matches no file"):
        Parquet(str(tmp_path / "*.parquet"))
    good = write(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"b.parquet is not a parquet file"):
        Parquet(good, str(tmp_path / "b.parquet"))
    write(tmp_path / "b.parquet", label=[0] * ROWS)
    with pytest.raises(UserError, match=r"b.parquet has other columns than .*a.parquet"):
        Parquet(str(tmp_path / "?.parquet"))
    pq.write_table(pq.read_table(good).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(UserError, match="has no rows"):
        Parquet(str(tmp_path / "empty.parquet"))
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "text.parquet")
    with pytest.raises(UserError, match="none of the columns text would do"):
        Parquet(str(tmp_path / "text.parquet"))
