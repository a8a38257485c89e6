"""torchvision's own files, written small; only the checksums that it compares them with are replaced."""

import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sslab.datamodules.sources.torchvision_sets import Vision
from sslab.ssl.core.errors import UserError
from torchvision import datasets


def write_cifar(folder: Path, kind: type[datasets.CIFAR10], fine: bool, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Three images in each file, rows of 3072 bytes; returns those to train on."""
    base = folder / kind.base_folder
    base.mkdir(parents=True)

    def dump(name: str, content: Any) -> tuple[str, str]:
        (base / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((base / name).read_bytes()).hexdigest()

    rows = {name: np.random.default_rng(i).integers(0, 256, (3, 3072), np.uint8) for i, name in enumerate(_files(kind))}
    key = "fine_labels" if fine else "labels"
    written = {name: dump(name, {"data": data, key: [0, 1, 2]}) for name, data in rows.items()}
    monkeypatch.setattr(kind, "train_list", [list(written[name]) for name, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [list(written[name]) for name, _ in kind.test_list])
    meta, md5 = dump(kind.meta["filename"], {kind.meta["key"]: ["ant", "bee", "cow"]})
    monkeypatch.setattr(kind, "meta", kind.meta | {"filename": meta, "md5": md5})
    return np.concatenate([rows[name] for name, _ in kind.train_list])


def _files(kind: type[datasets.CIFAR10]) -> list[str]:
    return [name for name, _ in (*kind.train_list, *kind.test_list)]


@pytest.mark.parametrize(
    ("dataset", "kind", "fine"), [("cifar10", datasets.CIFAR10, False), ("cifar100", datasets.CIFAR100, True)]
)
def test_cifar(dataset: Any, kind: Any, fine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write_cifar(tmp_path, kind, fine, monkeypatch)
    source = Vision(dataset, str(tmp_path))
    assert source.train.stack.numpy().tobytes() == rows.tobytes()
    assert source.train.stack.shape == (len(rows), 3, 32, 32)
    assert source.train.label.tolist() == [0, 1, 2] * (len(rows) // 3)
    assert source.train.classes == ("ant", "bee", "cow")
    assert source.train.factors.shape == (len(rows), 0)
    assert len(source.test) == 3
    assert source.train.read(1).equal(source.train.stack[1])


def test_stl10_trains_on_its_unlabelled_images_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / datasets.STL10.base_folder
    base.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 96, 96), np.uint8)  # as files have it: columns first
    for part in ("train", "unlabeled", "test"):
        images.tofile(base / f"{part}_X.bin")
        np.array([1, 10, 2], np.uint8).tofile(base / f"{part}_y.bin")
    (base / "class_names.txt").write_text("\n".join("abcdefghij"))
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)
    source = Vision("stl10", str(tmp_path))
    assert source.train.label.tolist() == [0, 9, 1, -1, -1, -1]
    assert source.test.label.tolist() == [0, 9, 1]
    assert source.train.stack[4].equal(torch.from_numpy(images[1]).mT)
    assert source.train.classes == tuple("abcdefghij")


def test_grey_images_get_three_channels(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), np.uint8)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">iiii", 2051, 4, 28, 28) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, 4) + bytes([3, 1, 9, 0]))
    source = Vision("fashion_mnist", str(tmp_path))
    assert source.train.stack.equal(torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1))
    assert source.train.label.tolist() == [3, 1, 9, 0]


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "stl10", "fashion_mnist"])
def test_nothing_is_downloaded_unless_asked_for(dataset: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{dataset} is missing or damaged in .*: set data.download=true"):
        Vision(dataset, str(tmp_path))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
