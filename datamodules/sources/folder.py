"""Images in a folder: sorted into classes, or in any arrangement without labels."""

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import Literal

import pyarrow as pa
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from ...ssl.core.errors import UserError
from ..reading.encoded import Encoded

Labels = Literal["auto", "folders", "none"]

PARTS = ("train", "test", "val")
# Pillow knows these by name, but cannot decode them alone.
NO_PIXELS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}


class Files(Encoded):
    """Image files by their names, which are relative to a root."""

    def __init__(
        self,
        root: Path,
        names: list[str],
        label: Int[Tensor, " n"],
        classes: tuple[str, ...],
        size: int | None,
        held: int | None,
    ) -> None:
        super().__init__(label, classes, size, held)
        self.root = root
        self.names = pa.array(map(os.fsencode, names), pa.binary())  # a list would be copied into every worker

    def files(self) -> Iterator[Path]:
        return (self.root / os.fsdecode(name.as_py()) for name in self.names)

    def content(self, row: int) -> tuple[str, Path]:
        path = self.root / os.fsdecode(self.names[row].as_py())
        return str(path), path


class Folder:
    """`root/class/image`, or images in any arrangement without labels; below `train` and `test` or `val`, or not.

    Labelled images without a test part are divided by a hash of their names, so that an image stays on its side when
    others are added.

    Args:
        root: the folder.
        labels: `folders`: the first folder below the root is the class. `none`: there are no labels. `auto`: classes
            if every image lies exactly one folder deep and there are at least two such folders.
        test_fraction: share of labelled images to test on where there is no test part.
        size: side of the views, which tells how small a JPEG may be decoded.
        held: side that images are resized and cut to, if any.
    """

    def __init__(
        self,
        root: str,
        labels: Labels = "auto",
        test_fraction: float | int = 0.1,
        size: int | None = None,
        held: int | None = None,
    ) -> None:
        base, test_base = _parts(_existing(root))
        names = _images(base)
        if not names:
            raise UserError(f"no image in {base}: expected files such as {base}/class/name.jpg or {base}/name.png")
        classes = tuple(sorted({_class(name) for name in names})) if _labelled(names, labels) else ()
        if test_base:
            test_names = _images(test_base)
        else:
            chosen = {name for name in names if classes and _draw(name) < test_fraction}
            test_base, test_names = base, [name for name in names if name in chosen]
            names = [name for name in names if name not in chosen]
        parts = [(base, names)] + ([(test_base, test_names)] if test_names else [])
        sets = [Files(root, own, _labels(root, own, classes), classes, size, held) for root, own in parts]
        self.train, self.test = sets[0], sets[1] if test_names else None


def _existing(root: str) -> Path:
    path = Path(root).expanduser()
    if not path.is_dir():
        raise UserError(
            f"data.root={root} is {'not a folder' if path.exists() else 'missing'}: give a folder of images"
        )
    return path


def _parts(root: Path) -> tuple[Path, Path | None]:
    """Return the folders to train and to test on; one for both unless its folders are called nothing but PARTS."""
    folders = {path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if "train" not in folders or not folders <= set(PARTS):
        return root, None
    test = next((root / name for name in PARTS[1:] if name in folders), None)
    return root / "train", test


def _images(root: Path) -> list[str]:
    """Names relative to the root, sorted; hidden files and other kinds of files are passed over."""
    Image.init()
    endings = {ending for ending, kind in Image.EXTENSION.items() if kind in Image.OPEN and kind not in NO_PIXELS}
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        kept = [name for name in files if os.path.splitext(name)[1].lower() in endings and not name.startswith(".")]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in kept]
    return sorted(found)


def _labelled(names: list[str], labels: Labels) -> bool:
    if labels == "folders" and (loose := [name for name in names if "/" not in name]):
        raise UserError(
            f"data.labels=folders, but {loose[0]} lies in no class folder: move it, or set data.labels=none"
        )
    sorted_in = all(name.count("/") == 1 for name in names) and len({_class(name) for name in names}) > 1
    return labels == "folders" or (labels == "auto" and sorted_in)


def _class(name: str) -> str:
    return PurePath(name).parts[0]


def _labels(root: Path, names: list[str], classes: tuple[str, ...]) -> Int[Tensor, " n"]:
    if not classes:
        return torch.full((len(names),), -1)
    number = {name: i for i, name in enumerate(classes)}
    if unknown := {_class(name) for name in names} - number.keys():
        raise UserError(f"{root} has classes that are not trained on ({', '.join(sorted(unknown)[:10])}): remove them")
    return torch.tensor([number[_class(name)] for name in names])


def _draw(name: str) -> float:
    """A number in [0, 1) that only the name decides."""
    return int.from_bytes(blake2b(os.fsencode(name), digest_size=8).digest(), "big") / 2**64
