"""Bytes on disk, so that what is slow to compute is computed once per machine."""

import hashlib
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

DIGEST = hashlib.sha256().digest_size  # bytes at the end of a file that tell whether it is whole


def user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "sslab"


def cached(path: Path, shape: tuple[int, ...], compute: Callable[[], UInt8[Tensor, "..."]]) -> UInt8[Tensor, "..."]:
    """Return the content of a file or, if it is missing or damaged, of `compute`, which the file then holds.

    A folder that cannot be written to costs the next call its time, and nothing else.
    """
    stored = _read(path)
    if stored is not None and len(stored) == math.prod(shape):
        return torch.from_numpy(stored).view(shape)
    computed = compute()
    _write(path, computed.numpy())
    return computed


def _read(path: Path) -> np.ndarray | None:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    body, digest = content[:-DIGEST], content[-DIGEST:]
    return body if hashlib.sha256(body.data).digest() == digest.tobytes() else None


def _write(path: Path, body: np.ndarray) -> None:
    """Under another name first: a reader, or a crash, never meets half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    except OSError:
        return
    try:
        with open(handle, "wb") as file:
            body.tofile(file)
            file.write(hashlib.sha256(body.data).digest())
        os.replace(name, path)
    except OSError:
        os.unlink(name)
