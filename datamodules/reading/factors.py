"""Factors from columns of a table: one of each column, or one of each class where a column lists the classes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.errors import UserError
from .labels import is_label, numbered, numbers

Values = Sequence[Sequence[Any]]  # of a column, for every part
Found = tuple[list[Int[Tensor, "_ f"]], tuple[str, ...]]  # for every part; and what the factors are called


def read_factors(columns: Sequence[str], parts: Sequence[Sequence[str]]) -> Found:
    """The factors of the files of each part, -1 where unknown; all parts have the same."""
    data = [ds.dataset(list(files)) for files in parts]
    tables = [one.to_table(columns=_checked(columns, one, data[0])) for one in data]
    found = [_factors(data[0].schema, column, [table[column].to_pylist() for table in tables]) for column in columns]
    names = tuple(name for _, own in found for name in own)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"data.factors={list(columns)}: two factors are called {twice[0]}, leave one out or rename it")
    return [torch.cat(part, 1) for part in zip(*(values for values, _ in found), strict=True)], names


def _checked(columns: Sequence[str], part: ds.FileSystemDataset, train: ds.FileSystemDataset) -> list[str]:
    """The columns, each once; refused where a part lacks one, or has it of a kind that is of no use or not train's."""
    own = part.schema
    for column in columns:
        if column not in own.names:
            raise UserError(f"data.factors={column} is no column of {part.files[0]}: there are {', '.join(own.names)}")
        kinds = [_kind(schema.field(column).type) for schema in (own, train.schema)]
        if kinds[0] is None:
            raise UserError(
                f"data.factors={column} is a column of {own.field(column).type}: expected integers, booleans, strings, "
                "or lists of integers or strings"
            )
        if kinds[0] != kinds[1]:
            raise UserError(f"data.factors={column} is a column of {kinds[1]} in train, but of {kinds[0]} in test")
    return list(dict.fromkeys(columns))


def _kind(kind: pa.DataType) -> str | None:
    """Return the kind of factor that a column holds, if it may be one or several."""
    if _lists(kind):
        return f"lists of {_kind(kind.value_type)}" if is_label(kind.value_type) else None
    if pa.types.is_boolean(kind):
        return "integers"
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return ("integers" if pa.types.is_integer(kind) else "strings") if is_label(kind) else None


def _lists(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _factors(schema: pa.Schema, column: str, parts: Values) -> Found:
    """One factor, whose values are numbered as labels are; or as many as the lists have classes."""
    if _lists(schema.field(column).type):
        return _listed(schema, column, parts)
    values, _ = numbered(schema, column, parts)
    return [part[:, None] for part in values], (column,)


def _listed(schema: pa.Schema, column: str, parts: Values) -> Found:
    """A factor of each class of any part: 1 where it is listed, 0 where it is not, -1 where there is no list."""
    number, classes = numbers(schema, column, (value for part in parts for row in part for value in row or ()))
    found = [torch.zeros(len(part), len(classes), dtype=torch.long) for part in parts]
    for grid, part in zip(found, parts, strict=True):
        for row, listed in enumerate(part):
            if listed is None:
                grid[row] = -1
            else:
                grid[row, [number[value] for value in listed if value in number]] = 1
    return found, classes
