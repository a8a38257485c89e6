"""The order of training: which positions make up which batch, on which rank, with which keys."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from ..ssl.draws import keys, mix, permutation
from ..ssl.errors import UserError

ORDER = 1  # keeps the permutation apart from the keys of the views


class Pick(NamedTuple):
    """One rank's share of a global batch."""

    choice: Int[Tensor, " b"]  # into the trainable rows
    key: Int[Tensor, " b"]


class Batches:
    """Batches in an order that is a pure function of (seed, epoch): batch s holds the positions [s B, (s + 1) B).

    Rank r of W takes the r-th of W contiguous shares, so W ranks see what one rank would. The last batches are
    dropped where they are incomplete, or too few to fill an accumulation.

    Args:
        size: number of trainable rows.
        batch_size: over all ranks.
        seed: of the run.
        accumulate: batches that make up one optimiser step.
        served: batches that an earlier run has already served, which are left out.
        rank: of this process.
        world: number of processes.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        accumulate: int = 1,
        served: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.size, self.batch_size, self.seed, self.served = size, batch_size, seed, served
        self.rank, self.share = rank, equal_share(batch_size, world)
        self.batches = whole_batches(size, batch_size, accumulate)
        self.epoch = served // self.batches

    def __len__(self) -> int:
        """Batches of a whole epoch, also where the first one is resumed half-way."""
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Pick]:
        epoch = self.epoch
        order = permutation(mix(self.seed, epoch, ORDER), self.size)
        for batch in range(max(0, self.served - epoch * self.batches), self.batches):
            first = batch * self.batch_size + self.rank * self.share
            position = torch.arange(first, first + self.share)
            yield Pick(order[position], keys(mix(self.seed, epoch), position))


def whole_batches(size: int, batch_size: int, accumulate: int) -> int:
    """Batches per epoch; at least one optimiser step."""
    batches = size // batch_size // accumulate * accumulate
    if batches == 0:
        step = f"{accumulate} batches of {batch_size}" if accumulate > 1 else f"a batch of {batch_size}"
        most = size // accumulate
        remedy = f"set data.batch_size to {most} or less" if most else "give more images"
        raise UserError(f"{size} training images do not fill {step}: {remedy}")
    return batches


def equal_share(batch_size: int, world: int) -> int:
    """What each rank takes of a global batch."""
    if batch_size % world:
        lower = batch_size // world * world
        choices = f"{lower} or {lower + world}" if lower else f"{world}"
        raise UserError(f"a batch of {batch_size} is not divisible among {world} ranks: set data.batch_size={choices}")
    return batch_size // world
