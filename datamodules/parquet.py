"""Images in parquet files, as bytes in a column."""

import json
from glob import glob
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ..ssl.errors import UserError
from .table import Table

LABEL_NAMES = ("label", "labels", "class", "target", "fine_label")

Value = int | str


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
    ) -> None:
        parts = [_files("train", train)] + ([_files("test", test)] if test else [])
        schema = _schema(parts[0][0])
        column, label = _image_column(schema, image), _label_column(schema, label)
        values = [_values(files, label) for files in parts]
        known, classes = _classes(schema, label, values)
        number: dict[Value | None, int] = {value: i for i, value in enumerate(known)}
        labels = [torch.tensor([number.get(value, -1) for value in part], dtype=torch.long) for part in values]
        tables = [Table(f, column, n, classes, size, held, cache_mib) for f, n in zip(parts, labels, strict=True)]
        self.train = tables[0]
        self.test = tables[1] if test else None


def _files(part: str, pattern: str) -> list[str]:
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


def _image_column(schema: pa.Schema, given: str | None) -> str:
    found = [field.name for field in schema if _holds_bytes(field.type)]
    if given in found or (given is None and len(found) == 1):
        return given or found[0]
    asked = f"data.image={given} is no column of bytes" if given else "there is no telling which column holds images"
    raise UserError(f"{asked}: {', '.join(found) or 'none'} of the columns {', '.join(schema.names)} would do")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _label_column(schema: pa.Schema, given: str | None) -> str | None:
    if given is None:
        return next((name for name in LABEL_NAMES if name in schema.names and _is_label(schema.field(name).type)), None)
    if given not in schema.names or not _is_label(schema.field(given).type):
        raise UserError(f"data.label={given} is no column of integers or strings: there are {', '.join(schema.names)}")
    return given


def _is_label(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _values(files: list[str], label: str | None) -> list[Value | None]:
    if label is None:
        return [None] * sum(pq.read_metadata(file).num_rows for file in files)
    return [value for file in files for value in pq.read_table(file, columns=[label]).column(0).to_pylist()]


def _classes(
    schema: pa.Schema, label: str | None, parts: list[list[Value | None]]
) -> tuple[list[Value], tuple[str, ...]]:
    """The values of the label column, and what they are called: by Hugging Face's metadata, or as they are."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    if names := features.get(label, {}).get("names"):
        return list(range(len(names))), tuple(names)
    known = sorted({value for part in parts for value in part if value is not None and value != -1})
    return known, tuple(map(str, known))
