"""An image set whose images are decoded when they are read."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from .decode import decode

DRAFT = 2  # JPEGs may be decoded smaller, down to this many times the side of the views


class Encoded(ABC):
    """The common part of folders and parquet files, which say where the bytes of a row are.

    Args:
        label: per row, -1 where unknown.
        classes: the names of the labels.
        size: side of the views, which tells how small a JPEG may be decoded.
        held: side that images are resized and cut to, if any.
    """

    stack = None
    factor_names: tuple[str, ...] = ()

    def __init__(
        self, label: Int[Tensor, " n"], classes: tuple[str, ...], size: int | None = None, held: int | None = None
    ) -> None:
        self.label, self.classes = label, classes
        self.factors = torch.zeros(len(label), 0, dtype=torch.long)
        self.source = torch.zeros_like(label)
        self.held, self.enough = held, size and DRAFT * size

    def __len__(self) -> int:
        return len(self.label)

    def read(self, row: int) -> UInt8[Tensor, "3 H W"]:
        return decode(*self.content(row), held=self.held, enough=self.enough)

    def fingerprint(self) -> str:
        """Return a hash of where the images are, how large their files and when they were last changed."""
        digest = sha256(f"{self.held} {self.enough}".encode())
        for file in self.files():
            stat = file.stat()
            digest.update(os.fsencode(file) + f" {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """Return the paths of the images, in order."""

    @abstractmethod
    def content(self, row: int) -> tuple[str, Path | bytes]:
        """The name of an image, and its file or bytes."""
