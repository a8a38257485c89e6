"""Images in parquet files, as bytes in a column."""

from glob import glob
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...ssl.core.errors import UserError
from ..reading.factors import read_factors
from ..reading.labels import Value, label_column, numbered
from ..reading.table import Table


class Parquet:
    """A file or a glob to train on and, perhaps, one to test on.

    Args:
        train: path or glob.
        test: path or glob.
        image: column of the images, of bytes or of records with `bytes`; the only such column unless given.
        label: column of integers or strings; found by its name unless given.
        size: side of the views, which tells how small a JPEG may be decoded.
        held: side that images are resized and cut to, if any.
        cache_mib: encoded bytes that each process keeps. Streaming reads rows in random order: files whose row groups
            are larger than this are slow, and best written anew with small ones.
        factors: columns of what else is known of the images, each of integers, booleans or strings (nothing or -1:
            unknown), or of lists of integers or strings, the classes of an image: each class is a factor, 1 or 0.
    """

    def __init__(
        self,
        train: str,
        test: str | None = None,
        image: str | None = None,
        label: str | None = None,
        size: int | None = None,
        held: int | None = None,
        cache_mib: int = 512,
        factors: list[str] | None = None,
    ) -> None:
        parts = [found("train", train)] + ([found("test", test)] if test else [])
        schema = _schema(parts[0][0])
        column, label = image_column(schema, image), label_column(schema, label)
        labels, classes = numbered(schema, label, [_values(files, label) for files in parts])
        tables = [Table(f, column, n, classes, size, held, cache_mib) for f, n in zip(parts, labels, strict=True)]
        if factors:
            values, names = read_factors(factors, parts)
            for table, own in zip(tables, values, strict=True):
                table.factors, table.factor_names = own, names
        self.train = tables[0]
        self.test = tables[1] if test else None


def found(part: str, pattern: str) -> list[str]:
    """The files of a part, which are of one kind and have rows."""
    files = sorted(glob(str(Path(pattern).expanduser()), recursive=True))
    if not files:
        raise UserError(f"data.{part}={pattern} matches no file: give a parquet file or a glob")
    for file in files:
        if _schema(file) != _schema(files[0]):
            raise UserError(f"{file} has other columns than {files[0]}: give data.{part} files of one kind")
    if not sum(pq.read_metadata(file).num_rows for file in files):
        raise UserError(f"data.{part}={pattern} has no rows: give files with images")
    return files


def _schema(file: str) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file} is not a parquet file that can be read ({str(error).splitlines()[0]})") from error


def image_column(schema: pa.Schema, given: str | None, asked: str = "image") -> str:
    """The column that is named by `data.image`, or the only one that may hold images."""
    there = [field.name for field in schema if _holds_bytes(field.type)]
    if given in there or (given is None and len(there) == 1):
        return given or there[0]
    lack = f"data.{asked}={given} is no column of bytes" if given else "there is no telling which column holds images"
    raise UserError(f"{lack}: {', '.join(there) or 'none'} of the columns {', '.join(schema.names)} would do")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _values(files: list[str], label: str | None) -> list[Value | None]:
    if label is None or label not in _schema(files[0]).names:
        return [None] * sum(pq.read_metadata(file).num_rows for file in files)
    return [value for file in files for value in pq.read_table(file, columns=[label]).column(0).to_pylist()]
