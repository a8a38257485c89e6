"""Partner images: what else shows what a training image shows, such as a variation that a generator has made of it."""

import json
import logging
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, UInt8
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from ...ssl.core.errors import UserError
from ..reading.images import ImageSet, Source
from ..reading.subset import Subset
from ..reading.table import Table
from .parquet import found

COLUMNS = ("image", "row", "noise_level")
CACHE_MIB = 512  # encoded bytes that each process keeps
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Partners:
    """The partners of the training rows."""

    images: ImageSet
    place: Int[Tensor, " n"]  # of each training row's partner in `images`; -1: it has none
    level: Int[Tensor, " n"]  # of noise between the two; -1: unknown

    @classmethod
    def of(cls, images: ImageSet, there: Bool[Tensor, " n"], level: Int[Tensor, " m"] | None = None) -> "Partners":
        """The images, and their levels, are in turn those of the rows that have one."""
        if not there.any():
            raise UserError("no training image has a partner: give pairs, or train without them")
        place = (there.cumsum(0) - 1).where(there, -1)
        levels = torch.full_like(place, -1)
        return cls(images, place, levels if level is None else levels.masked_scatter(there, level))

    def read(self, row: int) -> UInt8[Tensor, "3 H W"] | None:
        """The partner of a training row; None: it has none. `BadImage` where it cannot be decoded."""
        place = int(self.place[row])
        return self.images.read(place) if place >= 0 else None

    def held(self, images: ImageSet, bad: Int[Tensor, " m"]) -> "Partners":
        """The same in memory, without those that cannot be read."""
        return replace(self, images=images, place=self.place.where(torch.isin(self.place, bad, invert=True), -1))

    def beside(self, more: int) -> "Partners":
        """The same for a training set with so many more rows, which have no partners."""
        return replace(self, place=F.pad(self.place, (0, more), value=-1), level=F.pad(self.level, (0, more), value=-1))

    def captions(self, row: Int[Tensor, " b"]) -> list[str]:
        """Return captions of the partners of these rows, in a few words."""
        known = zip(self.place[row].tolist(), self.level[row].tolist(), strict=True)
        return ["no partner" if place < 0 else f"level {level}" if level >= 0 else "" for place, level in known]

    def missing(self, among: Bool[Tensor, " n"]) -> int:
        return int((self.place[among] < 0).sum())


@runtime_checkable
class PairSource(Source, Protocol):
    """A data set whose training images come with partners."""

    partners: Partners


def alone_as_pair(
    partner: UInt8[Tensor, "b 3 H2 W2"], images: UInt8[Tensor, "b 3 H W"], paired: Bool[Tensor, " b"]
) -> UInt8[Tensor, "b 3 H2 W2"]:
    """The partners, or an image itself, stretched to their size, where there is none; `paired` is on the CPU."""
    alone = (~paired).nonzero()[:, 0].to(images.device)
    if not len(alone):
        return partner
    return partner.index_copy(0, alone, resize(images[alone], list(partner.shape[2:]), antialias=True))


def generated_partners(folder: str, count: int, size: int | None = None, held: int | None = None) -> Partners:
    """The variations of `count` training images that the generator has written into `folder`.

    Of several variations of an image the first is taken.

    Args:
        folder: of parquet files with the columns `image`, `row` and `noise_level`.
        count: training images.
        size: side of the views, which tells how small a JPEG may be decoded.
        held: side that images are resized and cut to, if any.
    """
    files = _files(folder)
    row, level = _rows(files, folder, count)
    own, first = (torch.tensor(part) for part in np.unique(row, return_index=True))
    if len(own) < len(row):
        log.info("%d variations of %d images: the first of each is its partner", len(row), len(own))
    table = Table(files, "image", torch.full((len(row),), -1), (), size, held, CACHE_MIB)
    there = torch.zeros(count, dtype=torch.bool).index_fill(0, own, True)
    return Partners.of(Subset(table, first), there, torch.tensor(level)[first])


def _files(folder: str) -> list[str]:
    place = Path(folder).expanduser()
    if not any(place.glob("*.parquet")):
        raise UserError(
            f"data.partners={folder} holds no parquet files: give the folder that `python -m "
            "sslab.datamodules.generate generator=variation` has written"
        )
    files = found("partners", f"{escape(str(place))}/*.parquet")
    schema = pq.read_schema(files[0])
    if absent := [name for name in COLUMNS if name not in schema.names]:
        raise UserError(
            f"data.partners={folder} has no column {' or '.join(absent)} but {', '.join(schema.names)}: give what "
            "`python -m sslab.datamodules.generate` has written, or such a table"
        )
    return files


def _rows(files: list[str], folder: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The row of the original of every image, and the noise level."""
    table = pq.read_table(files, columns=["row", "noise_level"])
    row, level = (table.column(name).fill_null(-1).to_numpy() for name in ("row", "noise_level"))
    if row.max() < 0:
        raise UserError(
            f"data.partners={folder} holds variations of nothing: train on them by data.generated, or give what "
            "generator=variation has made"
        )
    if len(outside := row[(row < 0) | (row >= count)]):
        raise UserError(
            f"data.partners={folder} has a partner for row {outside[0]}, but there are {count} training images: it was "
            "made of another data set"
        )
    return row, level


def originals(folder: str) -> dict[str, Any] | None:
    """The config of the data set of which variations were made, as far as the manifest beside them says."""
    file = Path(folder).expanduser() / "manifest.json"
    return json.loads(file.read_text())["settings"].get("originals") if file.is_file() else None
