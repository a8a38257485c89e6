"""Image files that a CSV file lists, each with its partner."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from pyarrow import csv

from ...ssl.core.errors import UserError
from ..reading.labels import label_column, numbered
from .folder import Files
from .partners import Partners

REMEDY = "set data.image and data.partner to the columns of the paths"


class Asked(NamedTuple):
    """The arguments of `Pairs`."""

    train: str
    test: str | None
    image: str
    partner: str
    label: str | None
    size: int | None
    held: int | None


class Listed:
    """Paths are relative to the folder of the CSV file that they stand in."""

    def __init__(self, asked: Asked) -> None:
        train, test, image, partner, label, size, held = asked
        files = [Path(file).expanduser() for file in (train, test) if file]
        tables = [read(file, (image, partner), REMEDY) for file in files]
        others = tables[0].drop_columns([image, partner]).schema
        label = label_column(others, label)
        values = [table[label].to_pylist() if label else [None] * len(table) for table in tables]
        labels, classes = numbered(others, label, values)
        names = [table[image].to_pylist() for table in tables]
        parts = zip(files, names, labels, strict=True)
        sets = [Files(file.parent, own, number, classes, size, held) for file, own, number in parts]
        self.train, self.test = sets[0], sets[1] if test else None
        second = tables[0][partner].to_pylist()
        there, own = torch.tensor([name != "" for name in second]), [name for name in second if name]
        images = Files(files[0].parent, own, torch.full((len(own),), -1), (), size, held)
        self.partners = Partners.of(images, there)


def read(file: Path, columns: Sequence[str], remedy: str) -> pa.Table:
    """A CSV file whose columns of these names hold text, empty where there is none.

    Args:
        file: where it is.
        columns: that there must be; others may be beside them.
        remedy: what to do where one is missing.
    """
    text = dict.fromkeys(columns, pa.string())
    options = csv.ConvertOptions(column_types=text, null_values=[""], strings_can_be_null=True)
    try:
        table = csv.read_csv(file, convert_options=options)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{file} is no CSV file that can be read ({str(error).splitlines()[0]})") from error
    if absent := {*columns} - {*table.column_names}:
        names = ", ".join(table.column_names)
        raise UserError(f"{file} has no column {' or '.join(sorted(absent))} but {names}: {remedy}")
    if not len(table):
        raise UserError(f"{file} has no rows: give a table with images")
    for name in columns:
        table = table.set_column(table.column_names.index(name), name, table[name].fill_null(""))
    return table
