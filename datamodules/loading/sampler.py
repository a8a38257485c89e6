"""The order of training: which positions make up which batch, on which rank, with which keys."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.draws import keys, mix
from ...ssl.core.errors import UserError
from .order import SHUFFLED, Order, Rows

ORDER = 1  # keeps the order of rows apart from the keys of the views


class Pick(NamedTuple):
    """One rank's share of a global batch."""

    choice: Int[Tensor, " b"]  # into the trainable rows
    key: Int[Tensor, " b"]


class Batches:
    """The batches of `order`, which are a pure function of (seed, epoch).

    Rank r of W takes the r-th of W contiguous shares, so W ranks see what one rank would. The last batches are
    dropped where they are too few to fill an accumulation.

    Args:
        rows: the trainable rows.
        batch_size: over all ranks.
        seed: of the run.
        accumulate: batches that make up one optimiser step.
        served: batches that an earlier run has already served, which are left out.
        rank: of this process.
        world: number of processes.
        order: which rows make up a batch.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        seed: int,
        accumulate: int = 1,
        served: int = 0,
        rank: int = 0,
        world: int = 1,
        order: Order = SHUFFLED,
    ) -> None:
        self.rows, self.batch_size, self.seed, self.served = rows, batch_size, seed, served
        self.rank, self.share, self.order = rank, equal_share(batch_size, world), order
        self.batches = whole_batches(rows, batch_size, accumulate, order)
        self.epoch = served // self.batches

    def __len__(self) -> int:
        """Batches of a whole epoch, also where the first one is resumed half-way."""
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Pick]:
        epoch = self.epoch
        choice = self.order.batches(self.rows, self.batch_size, mix(self.seed, epoch, ORDER)).flatten()
        for batch in range(max(0, self.served - epoch * self.batches), self.batches):
            first = batch * self.batch_size + self.rank * self.share
            position = torch.arange(first, first + self.share)
            yield Pick(choice[position], keys(mix(self.seed, epoch), position))


def whole_batches(rows: Rows, batch_size: int, accumulate: int = 1, order: Order = SHUFFLED) -> int:
    """Batches per epoch; at least one optimiser step."""
    size, batches = len(rows.row), order.count(rows, batch_size) // accumulate * accumulate
    if batches == 0:
        step = f"{accumulate} batches of {batch_size}" if accumulate > 1 else f"a batch of {batch_size}"
        most = size // accumulate
        remedy = f"set data.batch_size to {most} or less" if most else "give more images"
        raise UserError(f"{size} training images do not fill {step}: {remedy}")
    return batches


def equal_share(batch_size: int, world: int) -> int:
    """Return each rank's share of a global batch."""
    if batch_size % world:
        lower = batch_size // world * world
        choices = f"{lower} or {lower + world}" if lower else f"{world}"
        raise UserError(f"a batch of {batch_size} is not divisible among {world} ranks: set data.batch_size={choices}")
    return batch_size // world
