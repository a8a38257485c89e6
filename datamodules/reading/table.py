"""The images in a column of parquet files."""

from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int
from torch import Tensor

from .encoded import Encoded


class Table(Encoded):
    """Reads a row group when one of its rows is asked for, and keeps the latest.

    Args:
        files: paths, in order.
        column: of bytes, or of records with `bytes`.
        label: per row, -1 where unknown.
        classes: the names of the labels.
        size: side of the views, which tells how small a JPEG may be decoded.
        held: side that images are resized and cut to, if any.
        cache_mib: encoded bytes that each process keeps.
    """

    def __init__(
        self,
        files: list[str],
        column: str,
        label: Int[Tensor, " n"],
        classes: tuple[str, ...],
        size: int | None,
        held: int | None,
        cache_mib: int,
    ) -> None:
        super().__init__(label, classes, size, held)
        self.column = column
        footers = [(file, pq.read_metadata(file)) for file in files]
        groups = [
            (file, number, footer.row_group(number))
            for file, footer in footers
            for number in range(footer.num_row_groups)
        ]
        self.place = [(file, number) for file, number, _ in groups]
        self.ends = np.array(list(accumulate(group.num_rows for *_, group in groups)))
        self.kept = max(1, (cache_mib << 20) // max(group.total_byte_size for *_, group in groups))
        self.cache: dict[int, pa.ChunkedArray] = {}

    def files(self) -> list[Path]:
        return [Path(file) for file in dict.fromkeys(file for file, _ in self.place)]

    def content(self, row: int) -> tuple[str, bytes]:
        group = int(np.searchsorted(self.ends, row, side="right"))
        within = row - (int(self.ends[group - 1]) if group else 0)
        value = self._group(group)[within].as_py()
        file, number = self.place[group]
        return f"{file} (row {within} of group {number})", (value["bytes"] if isinstance(value, dict) else value) or b""

    def _group(self, group: int) -> pa.ChunkedArray:
        if (values := self.cache.get(group)) is not None:
            return values
        file, number = self.place[group]
        with pq.ParquetFile(file, memory_map=True) as parquet:  # opened anew: threads cannot share a reader
            values = parquet.read_row_group(number, columns=[self.column]).column(0)
        while len(self.cache) >= self.kept:
            self.cache.pop(next(iter(self.cache), -1), None)
        self.cache[group] = values
        return values

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"cache": {}}  # a worker fills its own
