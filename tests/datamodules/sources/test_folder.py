from pathlib import Path

import pytest
import torch
from PIL import Image
from sslab.datamodules.sources.folder import Files, Folder
from sslab.ssl.core.errors import UserError


def names(files: Files | None) -> list[str]:
    if files is None:
        return []
    return [Path(files.content(row)[0]).relative_to(files.root).as_posix() for row in range(len(files))]


def test_class_folders_are_labels(paint, tmp_path: Path) -> None:
    for name in ("dog/b.png", "cat/a.png", "dog/a.jpg"):
        paint(name)
    source = Folder(str(tmp_path), test_fraction=0)
    assert names(source.train) == ["cat/a.png", "dog/a.jpg", "dog/b.png"]
    assert source.train.label.tolist() == [0, 1, 1]
    assert source.train.classes == ("cat", "dog")
    assert source.train.factors.shape == (3, 0)
    assert source.test is None


@pytest.mark.parametrize(
    "files",
    [
        ("b.png", "a.png"),  # flat
        ("only/a.png", "only/b.png"),  # one folder is no class
        ("2023/01/a.png", "2024/07/b.png"),  # deeper than a class
        ("x/a.png", "y/a.png", "b.png"),  # some are not in a folder
    ],
)
def test_other_arrangements_have_no_labels(paint, tmp_path: Path, files: tuple[str, ...]) -> None:
    for name in files:
        paint(name)
    source = Folder(str(tmp_path))
    assert names(source.train) == sorted(files)
    assert source.train.label.tolist() == [-1] * len(files)
    assert source.train.classes == ()
    assert source.test is None


def test_the_arrangement_can_be_stated(paint, tmp_path: Path) -> None:
    for name in ("cat/1/a.png", "dog/b.png"):
        paint(name)
    assert Folder(str(tmp_path), labels="folders", test_fraction=0).train.label.tolist() == [0, 1]
    assert Folder(str(tmp_path), labels="none").train.label.tolist() == [-1, -1]
    paint("loose.png")
    with pytest.raises(UserError, match="loose.png lies in no class folder"):
        Folder(str(tmp_path), labels="folders")


@pytest.mark.parametrize("part", ["test", "val"])
def test_parts_are_kept_apart(paint, tmp_path: Path, part: str) -> None:
    for name in ("train/cat/a.png", "train/dog/b.png", f"{part}/dog/c.png"):
        paint(name)
    source = Folder(str(tmp_path))
    assert names(source.train) == ["cat/a.png", "dog/b.png"]
    assert names(source.test) == ["dog/c.png"]
    assert source.test is not None
    assert source.test.label.tolist() == [1]
    paint(f"{part}/bird/d.png")
    with pytest.raises(UserError, match=r"not trained on \(bird\)"):
        Folder(str(tmp_path))


def test_a_class_may_be_called_train(paint, tmp_path: Path) -> None:
    for name in ("train/a.png", "plane/b.png"):
        paint(name)
    assert Folder(str(tmp_path), test_fraction=0).train.classes == ("plane", "train")


def test_labelled_images_are_divided_by_their_names(paint, tmp_path: Path) -> None:
    def divided() -> tuple[set[str], set[str]]:
        source = Folder(str(tmp_path), test_fraction=0.3)
        return set(names(source.train)), set(names(source.test))

    for i in range(60):
        paint(f"{'ab'[i % 2]}/{i}.png", 1, 1)
    train, test = divided()
    assert len(train | test) == 60
    assert not train & test
    assert 8 <= len(test) <= 28  # 18 expected; within three deviations
    for i in range(60, 80):
        paint(f"{'ab'[i % 2]}/{i}.png", 1, 1)
    later_train, later_test = divided()
    assert train <= later_train
    assert test <= later_test


def test_what_is_no_image_is_passed_over(paint, tmp_path: Path) -> None:
    paint("a/x.png")
    for other in ("a/readme.txt", "a/.hidden.png", ".git/x.png", "a/film.mpg", "a/x.json", "no_ending"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(b"?")
    assert names(Folder(str(tmp_path)).train) == ["a/x.png"]


def test_unusual_names_and_sizes(paint, tmp_path: Path) -> None:
    for i, name in enumerate(("ä ö/雪.png", "ä ö/😀.JPG", "b'\"/[x]*.png", "b'\"/new\nline.png")):
        paint(name, 1 + i, 2 + i)
    files = Folder(str(tmp_path), test_fraction=0).train
    assert files.classes == ("b'\"", "ä ö")
    assert sorted(tuple(files.read(row).shape) for row in range(4)) == [(3, 2 + i, 1 + i) for i in range(4)]


def test_reads_the_file_of_the_row(paint, tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (1, 2, 3)).save(paint("b.png"))
    paint("a.png")
    assert Folder(str(tmp_path)).train.read(1).equal(torch.tensor([1, 2, 3]).byte()[:, None, None].expand(3, 2, 2))


def test_large_jpegs_are_decoded_no_larger_than_the_views_need(paint, tmp_path: Path) -> None:
    paint("a.jpg", 320, 256)
    assert Folder(str(tmp_path)).train.read(0).shape == (3, 256, 320)
    assert Folder(str(tmp_path), size=32).train.read(0).shape == (3, 64, 80)
    assert Folder(str(tmp_path), size=32, held=40).train.read(0).shape == (3, 40, 40)


def test_a_folder_that_is_missing_or_empty_is_refused(paint, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is missing: give a folder of images"):
        Folder(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"a.png is not a folder"):
        Folder(str(paint("file/a.png")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no image in .*empty: expected files such as"):
        Folder(str(tmp_path / "empty"))
