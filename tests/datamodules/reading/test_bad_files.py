from pathlib import Path

import pytest
from sslab.datamodules.reading.bad_files import BadFiles
from sslab.datamodules.reading.images import BadImage
from sslab.ssl.core.errors import UserError


def bad(*names: str) -> list[BadImage]:
    return [BadImage(name, "broken") for name in names]


def test_each_is_named_once_also_after_a_restart(tmp_path: Path) -> None:
    first = BadFiles(total=100, max_bad=0.1, folder=tmp_path)
    first.add(bad("b", "a"))
    first.add(bad("a"))
    for _ in range(2):
        BadFiles(total=100, max_bad=0.1, folder=tmp_path).add(bad("b", "ü\udcff", "x\ny"))
    lines = (tmp_path / "bad_files.txt").read_text("utf-8").splitlines()
    assert lines == ["a\tbroken", "b\tbroken", "x y\tbroken", "ü\\udcff\tbroken"]


def test_no_file_without_bad_images(tmp_path: Path) -> None:
    BadFiles(total=10, max_bad=0, folder=tmp_path).add([])
    assert not list(tmp_path.iterdir())


def test_the_limit_is_a_share(tmp_path: Path) -> None:
    files = BadFiles(total=200, max_bad=0.01)
    files.add(bad("a", "b"))
    with pytest.raises(UserError, match=r"^3 of 200 images .* data.max_bad=0.01 allows \(a: broken; b: broken; c: bro"):
        files.add(bad("c"))


def test_a_long_list_is_cut() -> None:
    with pytest.raises(UserError, match=r"009: broken; and 21 more\)"):
        BadFiles(total=31, max_bad=0.5).add(bad(*(f"{i:03}" for i in range(31))))
