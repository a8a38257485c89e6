from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sslab.datamodules.generate.levels import Levels
from sslab.ssl.core.errors import UserError

TABLE = {"row": [2, 0, 1], "noise_level": [200, 0, 999]}


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, str]:
    pq.write_table(pa.table(TABLE | {"ratio": [0.5, 0.1, 0.9]}), tmp_path / "levels.parquet")
    (tmp_path / "levels.csv").write_text("row,noise_level\n2,200\n0,0\n1,999\n")
    return {kind: str(tmp_path / f"levels.{kind}") for kind in ("parquet", "csv")}


def test_one_level_for_all() -> None:
    assert [Levels(300)[row] for row in (0, 7)] == [300, 300]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_level_for_every_row(tables: dict[str, str], kind: str) -> None:
    levels = Levels(tables[kind])
    assert [levels[row] for row in range(3)] == [0, 999, 200]
    with pytest.raises(UserError, match="no level for row 3"):
        levels[3]


def test_the_name_tells_one_table_from_another(tables: dict[str, str]) -> None:
    before = Levels(tables["csv"]).name
    assert before.startswith("levels.csv:")
    assert Levels(tables["csv"]).name == before
    with open(tables["csv"], "a") as file:
        file.write("3,100\n")
    assert Levels(tables["csv"]).name != before


def test_what_is_no_level_or_no_table(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("row,level\n0,1\n")
    (tmp_path / "high.csv").write_text("row,noise_level\n0,1000\n")
    (tmp_path / "some.parquet").write_text("no table")
    for given, reason in ((-1, "not -1"), (1000, "not 1000"), (str(tmp_path / "high.csv"), "not 1000")):
        with pytest.raises(UserError, match=f"a noise level is 0 to 999, {reason}"):
            Levels(given)
    for name in ("some.csv", "some.parquet", "missing.csv"):
        with pytest.raises(UserError, match=f"{name} is no table of row and noise_level"):
            Levels(str(tmp_path / name))
