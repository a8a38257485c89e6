"""Feature stores in files: extracted once for the same backbone, images and view, and mapped into memory."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Int
from torch import Tensor, nn

from ...ssl.core.distributed import agreed, barrier, rank, world
from ...ssl.core.errors import UserError
from .extract import Images, PlainView, count_unread, known, see
from .store import FeatureStore

ABOUT, FEATURES, ROWS = "about.json", "features.f16", "row.i64"
CHUNK = 65_536  # rows that are copied at a time


class Disk:
    """A folder with one folder for each layer of what was seen, named by a hash of all that decides its features.

    In it `features.f16` and `row.i64` are bare numbers, and `about.json` says of what. It appears when it is whole.
    Processes that share a pass are dealt whole chunks of rows, so that no feature depends on how many they are.

    Args:
        folder: where, on a disk that all processes see.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        backbone: nn.Module,
        images: Images,
        view: PlainView,
        device: torch.device,
        batch_size: int = 512,
        precision: str = "32-true",
        layers: Sequence[str] = ("h",),
    ) -> FeatureStore:
        """Return what `extract` gives of all rows: layers that are there from their files, others by one pass."""
        setting = {"batch_size": batch_size, "precision": precision, "device": device.type}
        seen = {"backbone": fingerprint(backbone), "images": images.fingerprint(), "view": repr(view), **setting}
        about = {layer: {**seen, "layer": layer} for layer in layers}
        missing = {layer: it for layer, it in about.items() if not (self._place(it) / ABOUT).exists()}
        barrier()  # everybody has looked before anybody writes
        if missing:
            chunks = torch.arange(len(images)).split(batch_size)[rank() :: world()]
            self._write(missing, see(backbone, images, view, device, precision, chunks, list(missing)))
        found = {layer: _read(self._place(it)) for layer, it in about.items()}
        row, _ = found[layers[0]]
        count_unread(len(row), len(images))
        features, *others = [features for _, features in found.values()]
        meta = {"layer": layers[0], "precision": precision, "backbone": seen["backbone"]}
        further = dict(zip(layers[1:], others, strict=True))
        return known(images).take(row)._replace(features=features, meta=meta, others=further)

    def _place(self, about: dict[str, Any]) -> Path:
        return self.folder / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]

    def _write(
        self, missing: dict[str, dict[str, Any]], found: Iterator[tuple[Int[Tensor, " r"], dict[str, Tensor]]]
    ) -> None:
        """Every process writes a part; the first joins them."""
        with _drafts(self.folder) as draft:
            _append(draft / str(rank()), list(missing), found)
            barrier()
            for layer, about in missing.items() if rank() == 0 else ():
                joined = draft / layer
                _join([draft / str(r) / layer for r in range(world())], joined)
                (joined / ABOUT).write_text(json.dumps(about, indent=1))
                if not self._place(about).exists():  # by another program meanwhile
                    os.replace(joined, self._place(about))
            barrier()


def fingerprint(module: nn.Module) -> str:
    """A hash of what a module is made of and of all its weights."""
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:24]


@contextmanager
def _drafts(folder: Path) -> Iterator[Path]:
    """A folder within, the same for all processes, that is gone afterwards."""
    try:
        if rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
        draft = Path(agreed(tempfile.mkdtemp(dir=folder, prefix=".") if rank() == 0 else ""))
    except OSError as error:
        raise UserError(f"cannot write features to {folder} ({error.strerror}): set features=<a folder>") from None
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _append(part: Path, layers: list[str], found: Iterator[tuple[Int[Tensor, " r"], dict[str, Tensor]]]) -> None:
    """Write features as they come."""
    for layer in layers:
        (part / layer).mkdir(parents=True)
    with ExitStack() as opened:
        files = {
            layer: [opened.enter_context((part / layer / name).open("wb")) for name in (FEATURES, ROWS)]
            for layer in layers
        }
        for row, seen in found:
            for layer, features in seen.items():
                features.numpy().tofile(files[layer][0])
                row.numpy().tofile(files[layer][1])


def _join(parts: Sequence[Path], place: Path) -> None:
    """The rows of all parts in rising order."""
    if len(parts) == 1:
        os.replace(parts[0], place)
        return
    row, features = zip(*(_read(part) for part in parts if (part / ROWS).stat().st_size), strict=True)
    joined = torch.cat(row)
    start = np.cumsum([0, *map(len, row)])
    place.mkdir()
    with (place / FEATURES).open("wb") as file:
        for some in joined.argsort().split(CHUNK):
            out = features[0].new_empty(len(some), features[0].shape[1])
            for first, part in zip(start, features, strict=False):
                own = (some >= first) & (some < first + len(part))
                out[own] = part[some[own] - int(first)]
            out.numpy().tofile(file)
    joined.sort().values.numpy().tofile(place / ROWS)


def _read(place: Path) -> tuple[Int[Tensor, " n"], Float16[Tensor, "n d"]]:
    """Rows, and their features as a file that is mapped into memory."""
    row = np.fromfile(place / ROWS, np.int64)
    if not len(row):
        return torch.from_numpy(row), torch.empty(0, 0, dtype=torch.half)
    features = np.memmap(place / FEATURES, np.float16, "c").reshape(len(row), -1)  # c: torch wants it to be writable
    return torch.from_numpy(row), torch.from_numpy(features)
