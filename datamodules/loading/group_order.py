"""Batches whose images are all of one group."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from .groups import load
from .order import Rows

GROUPS = 1  # keeps the order of batches apart from the order of rows


@dataclass(frozen=True)
class Grouped:
    """Every batch is of one group; the batches of all groups come in random order (MCL; Zhang et al. 2024).

    Every row comes at most once an epoch. Those of a group that do not fill a batch wait for another epoch, so a group
    that fills none is refused.

    Args:
        file: the group of every training image, as `numpy.save` writes it.
    """

    file: str

    @cached_property
    def groups(self) -> Int[Tensor, " n"]:
        return load(Path(self.file))

    def count(self, rows: Rows, batch_size: int) -> int:
        return int((self._sizes(rows, batch_size) // batch_size).sum())

    def batches(self, rows: Rows, batch_size: int, key: int) -> Int[Tensor, "count {batch_size}"]:
        size = self._sizes(rows, batch_size)
        shuffled = permutation(key, len(rows.row))
        by_group = shuffled[self.groups[rows.row[shuffled]].argsort(stable=True)]
        turn = torch.arange(len(by_group)) - (size.cumsum(0) - size).repeat_interleave(size)  # place in its group
        whole = (size // batch_size * batch_size).repeat_interleave(size)
        found = by_group[turn < whole].view(-1, batch_size)
        return found[permutation(mix(key, GROUPS), len(found))]

    def _sizes(self, rows: Rows, batch_size: int) -> Int[Tensor, " groups"]:
        """Trainable rows of every group that has any."""
        if len(self.groups) <= rows.row.max():
            raise UserError(
                f"{self.file} holds the groups of {len(self.groups)} images, but there are "
                f"{int(rows.row.max()) + 1} or more to train on"
            )
        size = self.groups[rows.row].unique(return_counts=True)[1]
        small = size[size < batch_size]
        if len(small):
            raise UserError(
                f"{len(small)} of {len(size)} groups in {self.file} do not fill a batch of {batch_size}, so their "
                f"{int(small.sum())} images would never be trained on: join them, or set data.batch_size to "
                f"{int(small.min())} or less"
            )
        return size
