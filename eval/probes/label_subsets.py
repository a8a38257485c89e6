"""The few images that keep their label: by a hash of their rows, so that every checkpoint sees the same."""

import hashlib

import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.draws import keys, mix
from ...ssl.core.errors import UserError


def share_of_all(label: Int[Tensor, " n"], row: Int[Tensor, " n"], share: float, seed: int) -> Int[Tensor, " m"]:
    """⌊share · n⌋ rows, of every class the same number or one more; a smaller share is part of a larger one.

    A class that is smaller gives all it has. Of ImageNet this takes as many as Chen et al. (2020): 12811 and 128116.
    """
    classes, total = len(label[label >= 0].unique()), int((label >= 0).sum())
    base, more = divmod(int(share * total + 1e-9), max(1, classes))
    if base < 1:
        raise UserError(f"{share:.2%} of {total} labelled images are less than one of each of {classes} classes")
    return _first(label, row, base + (torch.arange(classes) < more).long(), mix(seed))


def number_of_each(
    label: Int[Tensor, " n"], row: Int[Tensor, " n"], number: int, seed: int, draw: int = 0
) -> Int[Tensor, " m"]:
    """`number` rows of every class; another `draw` gives others."""
    size = label[label >= 0].unique(return_counts=True)[1]
    smallest = int(size.min()) if len(size) else 0
    if not 1 <= number <= smallest:
        raise UserError(f"{number} images of each class: expected 1 to {smallest}, what the smallest class has")
    return _first(label, row, torch.full_like(size, number), mix(seed, draw))


def digest(row: Int[Tensor, " m"]) -> str:
    """A name for a set of rows."""
    return hashlib.sha256(row.sort().values.long().numpy().tobytes()).hexdigest()[:16]


def _first(label: Int[Tensor, " n"], row: Int[Tensor, " n"], count: Int[Tensor, " c"], seed: int) -> Int[Tensor, " m"]:
    """Return as many rows of each class as its `count`, those whose hashes come first; in rising order."""
    row, label = row[label >= 0], label[label >= 0]
    order = keys(seed, row).argsort()
    order = order[label[order].argsort(stable=True)]  # by class, then by hash
    size = label.unique(return_counts=True)[1]
    place = torch.arange(len(row)) - (size.cumsum(0) - size).repeat_interleave(size)  # in its class
    return row[order][place < count.repeat_interleave(size)].sort().values
