"""The choice of training rows that meet in a batch: shuffled, or so many of each of some classes."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.draws import keys, mix, permutation
from ...ssl.core.errors import UserError

CLASSES = 1  # keeps the choice of classes apart from the order of rows


class Rows(NamedTuple):
    """The rows that may be trained on, as they are known before any image is read."""

    row: Int[Tensor, " n"]
    label: Int[Tensor, " n"]  # -1: unknown


@runtime_checkable
class Order(Protocol):
    """Makes up the batches of an epoch. What it returns is a function of its arguments alone: it keeps no state."""

    def count(self, rows: Rows, batch_size: int) -> int:
        """Batches per epoch, before any is dropped to fill accumulations; the same in every epoch."""
        ...

    def batches(self, rows: Rows, batch_size: int, key: int) -> Int[Tensor, "count {batch_size}"]:
        """The batches of the epoch that `key` stands for, as positions in `rows`."""
        ...


@dataclass(frozen=True)
class Shuffled:
    """Every row at most once an epoch; those that do not fill a batch wait for another epoch."""

    def count(self, rows: Rows, batch_size: int) -> int:
        return len(rows.row) // batch_size

    def batches(self, rows: Rows, batch_size: int, key: int) -> Int[Tensor, "count {batch_size}"]:
        count = self.count(rows, batch_size)
        return permutation(key, len(rows.row))[: count * batch_size].view(count, batch_size)


SHUFFLED = Shuffled()


@dataclass(frozen=True)
class ClassBalanced:
    """Every batch holds `per_class` images of each of `classes_per_batch` classes, as in metric learning (P×K).

    An epoch draws as many images as have a label, to whole batches; rows without one are never drawn. The classes of a
    batch are drawn anew, all alike, so that small ones come as often as large ones. Each class deals out its rows in an
    order that is the epoch's own, and starts over when they are used up: within an epoch, and where it has fewer than
    `per_class` rows within a batch, a small class repeats them, and a large one keeps some for later epochs.

    Classes alternate in a batch, so that ranks, which take contiguous shares, see all of them. An image that proves
    unreadable gives way to the next row, whatever its class.
    """

    classes_per_batch: int
    per_class: int

    def count(self, rows: Rows, batch_size: int) -> int:
        self._check(rows, batch_size)
        return int((rows.label >= 0).sum()) // batch_size

    def batches(self, rows: Rows, batch_size: int, key: int) -> Int[Tensor, "count {batch_size}"]:
        shuffled = permutation(key, len(rows.row))
        shuffled = shuffled[rows.label[shuffled] >= 0]
        by_class = shuffled[rows.label[shuffled].argsort(stable=True)]
        size = rows.label[by_class].unique(return_counts=True)[1]
        chosen, round_ = self._deals(self.count(rows, batch_size), len(size), key)  # (count, 1, P)
        turn = round_ * self.per_class + torch.arange(self.per_class)[:, None]  # (count, K, P)
        first = size.cumsum(0) - size
        return by_class[first[chosen] + turn % size[chosen]].flatten(1)

    def _deals(self, count: int, classes: int, key: int) -> tuple[Int[Tensor, "n 1 p"], Int[Tensor, "n 1 p"]]:
        """The classes of each batch, and how many batches before it had them."""
        drawn = keys(mix(key, CLASSES), torch.arange(count * classes)).view(count, classes)
        chosen = drawn.argsort(dim=1, stable=True)[:, : self.classes_per_batch]
        there = torch.zeros_like(drawn).scatter_(1, chosen, 1)
        earlier = (there.cumsum(dim=0) - there).gather(1, chosen)
        return chosen[:, None], earlier[:, None]

    def _check(self, rows: Rows, batch_size: int) -> None:
        p, k = self.classes_per_batch, self.per_class
        classes = len(rows.label[rows.label >= 0].unique())
        if p < 1 or k < 1 or p * k != batch_size:
            raise UserError(
                f"data.order has classes_per_batch={p} and per_class={k}: expected a product of "
                f"data.batch_size={batch_size}"
            )
        if classes < p:
            found = f"there are {classes}: set data.order.classes_per_batch to {classes} or less" if classes else ""
            raise UserError(
                f"data.order draws batches of {p} classes, but "
                + (found or "this data set has no labels: leave data.order out")
            )
