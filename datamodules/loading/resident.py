"""Image sets that are held in memory, as one tensor on the training device."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from ...ssl.core.errors import UserError
from ...ssl.core.step import Batch
from ..reading.bad_files import BadFiles
from ..reading.images import BadImage, ImageSet, Stack, known
from ..sources.partners import Partners, alone_as_pair
from .placeless import Placeless
from .sampler import Batches

CHUNK = 256  # rows that a thread decodes at a time


class UnevenSizes(Exception):
    """Images of different sizes do not fit one tensor."""


def bytes_needed(images: ImageSet) -> int:
    """Size of the tensor, from its first image if it does not exist yet."""
    if images.stack is not None:
        return images.stack.nbytes
    return len(images) * first_readable(images).nbytes


def first_readable(images: ImageSet) -> UInt8[Tensor, "3 H W"]:
    for row in range(len(images)):
        try:
            return images.read(row)
        except BadImage:
            continue
    raise UserError(f"none of the {len(images)} images can be read: are they images?")


def load(images: ImageSet, bad: BadFiles) -> tuple[Stack, Int[Tensor, " m"]]:
    """All images decoded, and the rows that could not be: these hold the next of their source, of unknown label."""
    stack = torch.empty(len(images), *first_readable(images).shape, dtype=torch.uint8)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        results = pool.map(partial(_fill, stack, images), range(0, len(images), CHUNK))
        try:
            broken = {row: error for result in results for row, error in result.items()}
        except UnevenSizes:
            pool.shutdown(cancel_futures=True)
            raise
    bad.add(list(broken.values()))
    rows = torch.tensor(list(broken), dtype=torch.long)
    stand_in = torch.arange(len(images))
    for source in images.source.unique():
        own = images.source == source
        stand_in[own] = stand_ins(stand_in[own], rows)
    stack[rows] = stack[stand_in[rows]]
    label, factors = images.label.index_fill(0, rows, -1), images.factors.index_fill(0, rows, -1)
    return Stack(stack, label, factors, images.source, images.factor_names, images.classes), rows


def _fill(stack: UInt8[Tensor, "n 3 H W"], images: ImageSet, first: int) -> dict[int, BadImage]:
    """Read CHUNK images into their places; those that cannot be read, by row."""
    broken = {}
    for row in range(first, min(first + CHUNK, len(stack))):
        try:
            image = images.read(row)
        except BadImage as error:
            broken[row] = error
            continue
        if image.shape != stack.shape[1:]:
            (_, _, height, width), (_, h, w) = stack.shape, image.shape
            raise UnevenSizes(f"images differ in size ({width}x{height}, then {w}x{h} in row {row})")
        stack[row] = image
    return broken


def stand_ins(rows: Int[Tensor, " n"], bad: Int[Tensor, " m"]) -> Int[Tensor, " n"]:
    """The same rows, but the next good one, in a circle, in place of a bad one."""
    good = torch.isin(rows, bad, invert=True).nonzero()[:, 0]
    if not len(good):
        raise UserError(f"none of {len(rows)} images can be read: are they images?")
    return rows[good[torch.searchsorted(good, torch.arange(len(rows))) % len(good)]]


class Resident(Placeless):
    """Batches by indexing the tensor where it lies; no workers."""

    def __init__(
        self,
        sampler: Batches,
        images: ImageSet,
        rows: Int[Tensor, " n"],
        device: torch.device,
        partners: Partners | None = None,
    ) -> None:
        self.sampler, self.images, self.rows, self.partners = sampler, images, rows, partners
        self.stack = _placed(images, device)
        self.partner_stack = _placed(partners.images, device) if partners else self.stack[:0]

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        device = self.stack.device
        for choice, key in self.sampler:
            row = self.rows[choice]
            images = self.stack[row.to(device)]
            fields = {"key": key, **known(self.images, row), **self._pairs(images, row)}
            yield Batch.of(images, **{name: field.to(device) for name, field in fields.items()})

    def _pairs(self, images: UInt8[Tensor, "b 3 H W"], row: Int[Tensor, " b"]) -> dict[str, Tensor]:
        if self.partners is None:
            return {}
        place = self.partners.place[row]
        partner = self.partner_stack[place.clamp(min=0).to(images.device)]
        return {"partner": alone_as_pair(partner, images, place >= 0), "paired": place >= 0}


def _placed(images: ImageSet, device: torch.device) -> UInt8[Tensor, "n 3 H W"]:
    assert images.stack is not None
    return images.stack.to(device)
