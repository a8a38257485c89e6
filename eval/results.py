"""Rows of results: as a file, and as a table for the eye."""

import json
import os
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def write(rows: list[Row], file: Path) -> None:
    """Whole or not at all."""
    draft = file.with_name(file.name + ".tmp")
    draft.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    os.replace(draft, file)


def table(rows: list[Row]) -> str:
    """One line per factor, if there are any, and representation; one column per metric."""
    titles = list(dict.fromkeys(_title(row) for row in rows))
    cells = {(_name(row), _title(row)): _value(row) for row in rows}
    factors = list(dict.fromkeys(row.get("factor") for row in rows))
    names = dict.fromkeys(_name(row) for row in sorted(rows, key=lambda row: factors.index(row.get("factor"))))
    lines = [["", *titles], *([name, *(cells.get((name, title), "-") for title in titles)] for name in names)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join([a.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]) for a, *rest in lines)


def _name(row: Row) -> str:
    factor = f"{row['factor']} (chance {row['chance']:.1%}), " if "factor" in row else ""
    return factor + row["representation"]


def _title(row: Row) -> str:
    name = row["metric"].removesuffix("_accuracy").replace("_", " ")
    return f"{name} k={row['k']}" if "k" in row else name


def _value(row: Row) -> str:
    if "standard_error" in row:
        return f"{100 * row['value']:.1f} ± {100 * row['standard_error']:.1f} %"
    return f"{row['value']:.2f}"
