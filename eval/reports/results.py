"""Rows of results: as files, and as a table for the eye."""

import csv
import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...ssl.core.errors import UserError

FILE = "results.json"

Row = dict[str, Any]
Score = tuple[Int[Tensor, " _"], Float[Tensor, " _"]]  # rows of the test images, and what each of them scores


def write(rows: list[Row], folder: Path, scores: dict[int, Score] | None = None) -> None:
    """`results.json`, `results.csv` and, with the scores of rows by their number, `scores.npz`: each whole or not."""
    text = json.dumps(rows, indent=1, allow_nan=False) + "\n"
    pairs: dict[str, Any] = {str(n): torch.stack([*map(Tensor.double, pair)]) for n, pair in (scores or {}).items()}
    _replace(folder / FILE, lambda file: file.write(text.encode()))
    _replace(folder / "results.csv", lambda file: file.write(_csv(rows).encode()))
    _replace(folder / "scores.npz", lambda file: np.savez_compressed(file, **pairs))


def read(folder: Path) -> tuple[list[Row], dict[int, Score]]:
    """Read what `write` wrote."""
    try:
        rows = json.loads((folder / FILE).read_text())
        with np.load(folder / "scores.npz") as pairs:
            scores = {int(n): torch.from_numpy(pairs[n]) for n in pairs.files}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} holds no results of an evaluation ({error}): give a folder that sslab.eval wrote"
        ) from None
    return rows, {n: (pair[0].long(), pair[1]) for n, pair in scores.items()}


def table(rows: list[Row]) -> str:
    """One line for each metric of the class and, if there are any, of each factor; one column per representation."""
    names = list(dict.fromkeys(row["representation"] for row in rows))
    cells = {(_line(row), row["representation"]): _value(row) for row in rows}
    factors = list(dict.fromkeys(row.get("factor") for row in rows))
    lines = dict.fromkeys(_line(row) for row in sorted(rows, key=lambda row: factors.index(row.get("factor"))))
    return aligned([["", *names], *([line, *(cells.get((line, name), "-") for name in names)] for line in lines)])


def aligned(lines: list[list[str]]) -> str:
    """Columns of equal width, the first to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join([a.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]) for a, *rest in lines)


def is_share(row: Row) -> bool:
    """Tell whether the value is a share of hits, or a mean of such, to be told in percent."""
    return "standard_error" in row or "low" in row


def title(row: Row) -> str:
    """The metric, with the settings that tell it from others."""
    name = row["metric"].removesuffix("_accuracy").replace("_", " ")
    settings = [f" k={row['k']}" if "k" in row else "", f" T={row['T']}" if row.get("T", 0.07) != 0.07 else ""]
    layers = ":".join(row[key] for key in ("layer", "other_layer") if key in row)
    return name + "".join(settings) + (f" {layers}" if layers not in ("", "h") else "")


def _replace(path: Path, fill: Callable[[IO[bytes]], Any]) -> None:
    draft = path.with_name(path.name + ".tmp")
    with draft.open("wb") as file:
        fill(file)
    os.replace(draft, path)


def _csv(rows: list[Row]) -> str:
    """A column for every plain value that some row has."""
    plain = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in rows]
    text = StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(k for row in plain for k in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return text.getvalue()


def _line(row: Row) -> str:
    factor = f"{row['factor']} (chance {row['chance']:.1%}), " if "factor" in row else ""
    return factor + title(row)


def _value(row: Row) -> str:
    spread = f" ± {100 * row['standard_error']:.1f}" if "standard_error" in row else ""
    return f"{100 * row['value']:.1f}{spread} %" if is_share(row) else f"{row['value']:.2f}"
