"""What a data set offers to the rest: rows of RGB images with labels, if there are any."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int, UInt8
from torch import Tensor


@runtime_checkable
class ImageSet(Protocol):
    """Images by row. A row means the same image in every epoch and run, whether it can be read or not."""

    label: Int[Tensor, " n"]  # -1: unknown
    factors: Int[Tensor, "n f"]  # (n, 0): none
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


@dataclass
class Stack:
    """An image set that is one tensor."""

    stack: UInt8[Tensor, "n 3 H W"]
    label: Int[Tensor, " n"]
    factors: Int[Tensor, "n f"]
    factor_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, stack: UInt8[Tensor, "n 3 H W"], label: Int[Tensor, " n"], classes: tuple[str, ...]) -> "Stack":
        """A set without factors."""
        return cls(stack, label, torch.zeros(len(stack), 0, dtype=torch.long), classes=classes)

    def __len__(self) -> int:
        return len(self.stack)

    def read(self, row: int) -> UInt8[Tensor, "3 H W"]:
        return self.stack[row]
