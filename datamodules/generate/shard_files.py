"""A set of made images as parquet files, each of them whole or not there."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...ssl.core.errors import UserError

SCHEMA = pa.schema(
    {
        "image": pa.binary(),  # a PNG file
        "row": pa.int64(),  # of the original in its data set; -1: there is none
        "noise_level": pa.int64(),  # between the original and the image; -1: there is no original
        "model": pa.string(),
        "steps": pa.int64(),
        "seed": pa.int64(),  # of the image's own noise
        "sha256": pa.string(),  # of the PNG file
    }
)
NUMBERS = b"numbers"  # of images that a file is for: more than its rows where originals could not be read
ROW_GROUP = 64  # rows are read in random order, a group at a time


class Parts:
    """The files of a set, those that are this process's to make among them.

    Args:
        folder: where they are.
        batch_size: images that are made together.
        batches: of them in a file.
        count: images in the set.
        limit: how many of them to make, if not all.
        shard: number of this process.
        shards: processes that make the set together.
    """

    def __init__(
        self,
        folder: str,
        batch_size: int,
        batches: int = 16,
        count: int | None = None,
        limit: int | None = None,
        shard: int = 0,
        shards: int = 1,
    ) -> None:
        self.folder, self.size = Path(folder).expanduser(), batch_size * batches
        self.total = min(number for number in (count, limit) if number is not None)
        self.shard, self.shards = shard, shards
        if min(self.total, batch_size, batches) < 1:
            raise UserError(f"count={count}, limit={limit}, batch_size={batch_size}: expected 1 or more of each")
        if not 0 <= shard < shards:
            raise UserError(f"shard={shard} of shards={shards}: expected 0 to {shards - 1}")

    def missing(self) -> list[range]:
        """The numbers of the images of every file that is not there or not whole, as far as it is this process's."""
        starts = range(self.shard * self.size, self.total, self.shards * self.size)
        parts = [range(start, min(start + self.size, self.total)) for start in starts]
        return [part for part in parts if _numbers(self._file(part)) < len(part)]

    def write(self, part: range, rows: Sequence[dict[str, Any]]) -> None:
        """Under another name first: a reader, or a crash, never meets half a file."""
        table = pa.Table.from_pylist(list(rows), SCHEMA.with_metadata({NUMBERS: str(len(part))}))
        draft = self._file(part).with_suffix(".tmp")
        pq.write_table(table, draft, row_group_size=ROW_GROUP)
        os.replace(draft, self._file(part))

    def _file(self, part: range) -> Path:
        return self.folder / f"part-{part.start // self.size:06d}.parquet"


def _numbers(file: Path) -> int:
    """Return the number of images that a file is for; 0: it is missing or damaged."""
    try:
        return int((pq.read_schema(file).metadata or {})[NUMBERS])
    except (OSError, pa.ArrowInvalid, KeyError):
        return 0
