from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sslab.datamodules.generate.shard_files import Parts
from sslab.ssl.core.errors import UserError


def rows(part: range) -> list[dict[str, Any]]:
    known = {"image": b"", "row": -1, "noise_level": -1, "model": "m", "steps": 1, "sha256": ""}
    return [known | {"seed": number} for number in part]


def fill(parts: Parts) -> None:
    for part in parts.missing():
        parts.write(part, rows(part))


def seeds(folder: Path) -> list[int]:
    files = sorted(folder.glob("*.parquet"))
    return [seed for file in files for seed in pq.read_table(file).column("seed").to_pylist()]


@given(count=st.integers(1, 200), size=st.integers(1, 50), shards=st.integers(1, 5))
def test_shards_share_a_set_without_a_gap(count: int, size: int, shards: int) -> None:
    each = [Parts("nowhere", size, 1, count, shard=shard, shards=shards).missing() for shard in range(shards)]
    assert sorted(number for parts in each for part in parts for number in part) == list(range(count))
    assert max(map(len, each)) - min(map(len, each)) <= 1


def test_what_is_there_is_not_missing_and_what_is_cut_off_is(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), 4, 2, 20)
    fill(parts)
    assert parts.missing() == []
    assert seeds(tmp_path) == list(range(20))
    files = sorted(tmp_path.iterdir())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-10])
    assert parts.missing() == [range(8), range(8, 16)]
    (tmp_path / "part-000000.tmp").write_text("half a file")
    fill(parts)
    assert seeds(tmp_path) == list(range(20))


def test_a_set_may_grow_and_its_last_file_with_it(tmp_path: Path) -> None:
    fill(Parts(str(tmp_path), 4, 2, 20, limit=10))
    assert seeds(tmp_path) == list(range(10))
    assert Parts(str(tmp_path), 4, 2, 20).missing() == [range(8, 16), range(16, 20)]
    fill(Parts(str(tmp_path), 4, 2, 20))
    assert seeds(tmp_path) == list(range(20))
    assert Parts(str(tmp_path), 4, 2, 20, limit=10).missing() == []


def test_a_file_is_whole_without_the_images_that_could_not_be_made(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), 4, 2, 8)
    parts.write(range(8), rows(range(3)))
    assert parts.missing() == []


def test_numbers_that_cannot_be() -> None:
    for wrong in ({"count": 0}, {"count": 5, "limit": 0}, {"count": 5, "batches": 0}):
        with pytest.raises(UserError, match="expected 1 or more of each"):
            Parts("nowhere", 4, **wrong)
    with pytest.raises(UserError, match="shard=2 of shards=2: expected 0 to 1"):
        Parts("nowhere", 4, count=5, shard=2, shards=2)
