"""Labels from a column of a table."""

import json
from collections.abc import Sequence

import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor

from ..ssl.errors import UserError

NAMES = ("label", "labels", "class", "target", "fine_label")

Value = int | str


def label_column(schema: pa.Schema, given: str | None) -> str | None:
    """The column that is named, or one that is called like labels and may hold them."""
    if given is None:
        return next((name for name in NAMES if name in schema.names and _is_label(schema.field(name).type)), None)
    if given not in schema.names or not _is_label(schema.field(given).type):
        raise UserError(f"data.label={given} is no column of integers or strings: there are {', '.join(schema.names)}")
    return given


def numbered(
    schema: pa.Schema, label: str | None, parts: Sequence[Sequence[Value | None]]
) -> tuple[list[Int[Tensor, " _"]], tuple[str, ...]]:
    """The values of each part as numbers, -1 for none, and what the numbers stand for."""
    known, classes = _classes(schema, label, parts)
    number: dict[Value | None, int] = {value: i for i, value in enumerate(known)}
    return [torch.tensor([number.get(value, -1) for value in part], dtype=torch.long) for part in parts], classes


def _is_label(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _classes(
    schema: pa.Schema, label: str | None, parts: Sequence[Sequence[Value | None]]
) -> tuple[list[Value], tuple[str, ...]]:
    """The values of the label column, and what they are called: by Hugging Face's metadata, or as they are."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    if names := features.get(label, {}).get("names"):
        return list(range(len(names))), tuple(names)
    known = sorted({value for part in parts for value in part if value is not None and value != -1})
    return known, tuple(map(str, known))
