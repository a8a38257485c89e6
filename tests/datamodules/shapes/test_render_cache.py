from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sslab.datamodules.shapes.render_cache import cached, user_cache
from torch import Tensor

SHAPE = (5, 3, 4)
CONTENT = torch.arange(60, dtype=torch.uint8).view(SHAPE)


def computed() -> Tensor:
    return CONTENT.clone()


def not_again() -> Tensor:
    raise AssertionError("the file holds it")


def test_computed_once(tmp_path: Path) -> None:
    file = tmp_path / "new" / "pixels"
    assert torch.equal(cached(file, SHAPE, computed), CONTENT)
    assert torch.equal(cached(file, SHAPE, not_again), CONTENT)
    assert [f.name for f in file.parent.iterdir()] == ["pixels"]


def cut(content: bytes) -> bytes:
    return content[:-7]


def flip(content: bytes) -> bytes:
    return content[:10] + bytes([content[10] ^ 1]) + content[11:]


def empty(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "pixels"
    cached(file, SHAPE, computed)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert torch.equal(cached(file, SHAPE, computed), CONTENT)
    assert file.read_bytes() == whole


def test_another_shape_is_another_content(tmp_path: Path) -> None:
    cached(tmp_path / "pixels", SHAPE, computed)
    assert torch.equal(cached(tmp_path / "pixels", (2,), lambda: CONTENT[0, 0, :2]), torch.tensor([0, 1]).byte())


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        assert torch.equal(cached(tmp_path / "file" / "pixels", SHAPE, computed), CONTENT)


def test_a_folder_in_place_of_the_file_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "pixels").mkdir()
    assert torch.equal(cached(tmp_path / "pixels", SHAPE, computed), CONTENT)
    assert [f.name for f in tmp_path.iterdir()] == ["pixels"]


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert user_cache() == Path("/elsewhere/sslab")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert user_cache() == Path.home() / ".cache" / "sslab"
