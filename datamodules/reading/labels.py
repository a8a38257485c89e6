"""Labels from a column of a table."""

import json
from collections.abc import Iterable, Sequence

import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.errors import UserError

NAMES = ("label", "labels", "class", "target", "fine_label")

Value = int | str


def label_column(schema: pa.Schema, given: str | None) -> str | None:
    """The column that is named, or one that is called like labels and may hold them."""
    if given is None:
        return next((name for name in NAMES if name in schema.names and is_label(schema.field(name).type)), None)
    if given not in schema.names or not is_label(schema.field(given).type):
        raise UserError(f"data.label={given} is no column of integers or strings: there are {', '.join(schema.names)}")
    return given


def numbered(
    schema: pa.Schema, label: str | None, parts: Sequence[Sequence[Value | None]]
) -> tuple[list[Int[Tensor, " _"]], tuple[str, ...]]:
    """The values of each part as numbers, -1 for none, and what the numbers stand for."""
    number, classes = numbers(schema, label, (value for part in parts for value in part))
    return [torch.tensor([number.get(value, -1) for value in part], dtype=torch.long) for part in parts], classes


def is_label(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def numbers(
    schema: pa.Schema, column: str | None, values: Iterable[Value | None]
) -> tuple[dict[Value | None, int], tuple[str, ...]]:
    """The number of each value, and what it is called: by Hugging Face's metadata, or as it is."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    if names := _names(features.get(column, {})):
        return {i: i for i in range(len(names))}, tuple(names)
    known = {value for value in values if value is not None and value != -1}
    examples = {type(value): value for value in known}
    if len(examples) > 1:
        shown = " and ".join(map(repr, examples.values()))
        raise UserError(f"column {column} holds both {shown}: give one kind of value")
    return {value: i for i, value in enumerate(sorted(known))}, tuple(map(str, sorted(known)))


def _names(feature: dict | list) -> Sequence[str]:
    """Return the names of the classes of a column, or of those that its lists hold."""
    while isinstance(feature, list) or "feature" in feature:
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    return feature.get("names", ())
