"""Factors from the columns of parquet files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sslab.datamodules.loading.resident import load
from sslab.datamodules.reading.bad_files import BadFiles
from sslab.datamodules.reading.factors import read_factors
from sslab.datamodules.sources.inflated import Inflated
from sslab.datamodules.sources.parquet import Parquet
from sslab.ssl.core.errors import UserError


def write(path: Path, metadata: dict[str, Any] | None = None, **columns: Sequence[Any] | pa.Array) -> str:
    about = {"huggingface": json.dumps({"info": {"features": metadata}})} if metadata else None
    pq.write_table(pa.table(columns).replace_schema_metadata(about), path, row_group_size=2)
    return str(path)


def test_a_column_is_a_factor_and_what_is_missing_is_unknown(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.parquet",
        indoor=[True, None, False, True],
        angle=pa.array([30, 0, None, -1], pa.int16()),
        light=pa.array(["sun", "lamp", None, "sun"]).dictionary_encode(),
    )
    (values,), names = read_factors(["angle", "indoor", "light"], [[file]])
    assert names == ("angle", "indoor", "light")
    assert values.tolist() == [[1, 1, 1], [0, -1, 0], [-1, 0, -1], [-1, 1, 1]]


def test_a_list_is_a_factor_for_each_class_of_any_part(tmp_path: Path) -> None:
    train = [
        write(tmp_path / f"{i}.parquet", seen=rows) for i, rows in enumerate([[["dog", "cat", "dog"], []], [None]])
    ]
    test = [write(tmp_path / "test.parquet", seen=[["owl"], ["cat", None]])]
    parts, names = read_factors(["seen"], [train, test])
    assert names == ("cat", "dog", "owl")
    assert [part.tolist() for part in parts] == [[[1, 1, 0], [0, 0, 0], [-1, -1, -1]], [[0, 0, 1], [1, 0, 0]]]


@pytest.mark.parametrize("kind", [pa.list_(pa.int8()), pa.large_list(pa.int64()), pa.list_(pa.int32(), 2)], ids=str)
def test_lists_of_integers_are_called_as_they_are(tmp_path: Path, kind: pa.DataType) -> None:
    file = write(tmp_path / "a.parquet", ids=pa.array([[7, 100], [100, 100], None], kind))
    (values,), names = read_factors(["ids"], [[file]])
    assert names == ("7", "100")
    assert values.tolist() == [[1, 1], [0, 1], [-1, -1]]


CLASSES = {"names": ["cat", "dog", "owl"], "_type": "ClassLabel"}


@pytest.mark.parametrize("feature", [{"feature": CLASSES, "_type": "List"}, [CLASSES]], ids=["List", "list"])
def test_classes_are_called_as_hugging_face_calls_them(tmp_path: Path, feature: Any) -> None:
    metadata = {"seen": feature, "pose": {"names": ["left", "right"], "_type": "ClassLabel"}}
    file = write(tmp_path / "a.parquet", metadata, pose=[1, 1, None], seen=[[2], [], [0, 2]])
    (values,), names = read_factors(["pose", "seen"], [[file]])
    assert names == ("pose", "cat", "dog", "owl")
    assert values.tolist() == [[1, 0, 0, 1], [1, 0, 0, 0], [-1, 1, 0, 1]]


def test_both_parts_number_alike(tmp_path: Path) -> None:
    parts = [[write(tmp_path / f"{i}.parquet", size=size)] for i, size in enumerate([[9, 2, 5], [5, 7]])]
    (train, test), _ = read_factors(["size"], parts)
    assert train[:, 0].tolist() == [3, 0, 1]
    assert test[:, 0].tolist() == [1, 2]


@given(rows=st.lists(st.none() | st.lists(st.integers(0, 4)), min_size=1))
def test_a_list_tells_what_a_column_for_each_class_tells(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    folder = tmp_path_factory.mktemp("both")
    (listed,), names = read_factors(["ids"], [[write(folder / "a.parquet", ids=pa.array(rows, pa.list_(pa.int64())))]])
    columns = {name: [None if row is None else int(name) in row for row in rows] for name in names}
    assert set(names) == {str(i) for row in rows for i in row or ()}
    for i, column in enumerate(columns.values()):
        assert listed[:, i].tolist() == [-1 if value is None else int(value) for value in column]


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    Image.effect_noise((4, 3), 50).save(tmp_path / "image.png")
    return (tmp_path / "image.png").read_bytes()


def test_images_have_their_factors_held_or_not(tmp_path: Path, image: bytes) -> None:
    train = write(tmp_path / "a.parquet", image=[image, b"", image], tags=[["x"], ["x", "y"], []], night=[0, 1, None])
    test = write(tmp_path / "b.parquet", image=[image], night=[1], tags=[["z"]], other=[0.5])
    source = Parquet(train, test, factors=["night", "tags"])
    assert source.test is not None
    assert source.train.label.tolist() == [-1] * 3
    assert source.train.factor_names == source.test.factor_names == ("night", "x", "y", "z")
    assert source.train.factors.tolist() == [[0, 1, 0, 0], [1, 1, 1, 0], [-1, 0, 0, 0]]
    assert source.test.factors.tolist() == [[1, 0, 0, 1]]
    held, _ = load(source.train, BadFiles(3, 1, None))
    assert held.factors.tolist() == [[0, 1, 0, 0], [-1] * 4, [-1, 0, 0, 0]]  # nothing is known of a stand-in
    assert Inflated(source.train, source.test).factors[3].tolist() == [-1] * 4


def test_without_factors_there_are_none(tmp_path: Path, image: bytes) -> None:
    for factors in (None, []):
        train = Parquet(write(tmp_path / "a.parquet", image=[image, image], tags=[["x"], []]), factors=factors).train
        assert (train.factors.shape, train.factor_names) == ((2, 0), ())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["colour"], "data.factors=colour is no column of [^\n]*a.parquet: there are size, tags, words, deep"),
        (["tags", "size"], "data.factors=size is a column of double: expected integers, booleans, strings, or lists"),
        (["deep"], r"data.factors=deep is a column of list<.*list<.*: expected integers"),
        (["tags", "tags"], r"data.factors=\['tags', 'tags'\]: two factors are called a, leave one out or rename it"),
    ],
)
def test_columns_that_are_no_factors_are_refused(tmp_path: Path, columns: list[str], message: str) -> None:
    file = write(tmp_path / "a.parquet", size=[0.5], tags=[["a"]], words=["a"], deep=[[[1]]])
    with pytest.raises(UserError, match=f"^{message}[^\n]*$"):
        read_factors(columns, [[file]])


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"other": [1]}, "data.factors=tags is no column of [^\n]*b.parquet: there are other"),
        ({"tags": ["a"]}, "data.factors=tags is a column of lists of strings in train, but of strings in test"),
        (
            {"tags": [[1]]},
            "data.factors=tags is a column of lists of strings in train, but of lists of integers in test",
        ),
    ],
)
def test_parts_that_differ_are_refused(tmp_path: Path, test: dict[str, list], message: str) -> None:
    parts = [[write(tmp_path / "a.parquet", tags=[["a"]])], [write(tmp_path / "b.parquet", **test)]]
    with pytest.raises(UserError, match=f"^{message}$"):
        read_factors(["tags"], parts)


def test_booleans_and_integers_of_any_width_agree(tmp_path: Path) -> None:
    kinds = [pa.bool_(), pa.int8(), pa.uint64()]
    parts = [[write(tmp_path / f"{i}.parquet", it=pa.array([1, 0]).cast(k))] for i, k in enumerate(kinds)]
    values, _ = read_factors(["it"], parts)
    assert all(torch.equal(part, torch.tensor([[1], [0]])) for part in values)
