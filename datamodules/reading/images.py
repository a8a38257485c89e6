"""The contract of a data set: rows of RGB images with labels, if there are any."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int, UInt8
from torch import Tensor


@runtime_checkable
class ImageSet(Protocol):
    """Images by row. A row means the same image in every epoch and run, whether it can be read or not."""

    label: Int[Tensor, " n"]  # -1: unknown
    factors: Int[Tensor, "n f"]  # (n, 0): none
    source: Int[Tensor, " n"]  # 0: real, 1: generated
    factor_names: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def stack(self) -> UInt8[Tensor, "n 3 H W"] | None:
        """All images, where they are in memory; None where they are read one by one."""
        ...

    def __len__(self) -> int: ...

    def read(self, row: int) -> UInt8[Tensor, "3 H W"]:
        """One image; `BadImage` where it cannot be decoded."""
        ...

    def fingerprint(self) -> str:
        """A hash that changes when any image does."""
        ...


@runtime_checkable
class Source(Protocol):
    """A data set as it is published: a part to train on and, perhaps, one to test on."""

    train: ImageSet
    test: ImageSet | None


class BadImage(OSError):
    """An image that cannot be decoded."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def known(images: ImageSet, row: Int[Tensor, " b"]) -> dict[str, Tensor]:
    """Return the fields that a batch of these rows has beside pixels, by their names."""
    return {"row": row, "label": images.label[row], "factors": images.factors[row], "source": images.source[row]}


@dataclass
class Stack:
    """An image set that is one tensor."""

    stack: UInt8[Tensor, "n 3 H W"]
    label: Int[Tensor, " n"]
    factors: Int[Tensor, "n f"]
    source: Int[Tensor, " n"]
    factor_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, stack: UInt8[Tensor, "n 3 H W"], label: Int[Tensor, " n"], classes: tuple[str, ...]) -> "Stack":
        """A real set without factors."""
        none = torch.zeros(len(stack), 0, dtype=torch.long)
        return cls(stack, label, none, torch.zeros_like(label), classes=classes)

    def first(self, count: int) -> "Stack":
        """The first rows, in the same memory."""
        names = ("stack", "label", "factors", "source")
        return replace(self, **{name: getattr(self, name)[:count] for name in names})

    def __len__(self) -> int:
        return len(self.stack)

    def read(self, row: int) -> UInt8[Tensor, "3 H W"]:
        return self.stack[row]

    def fingerprint(self) -> str:
        """Return a hash of the pixels."""
        pixels = self.stack.cpu().contiguous()
        return sha256(f"{tuple(pixels.shape)}".encode() + pixels.numpy().data).hexdigest()
