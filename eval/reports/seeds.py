"""Several runs side by side, each over its seeds."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...ssl.core.errors import UserError
from .compare import SETTING, described
from .results import FILE, Row, aligned, is_share, read

Found = dict[tuple[Any, ...], list[Row]]  # one row of each seed


def seeds(folders: Sequence[Path]) -> str:
    """A table with a column for each folder: the mean and the standard deviation over the seeds of its results.

    A folder holds the results of runs that differ in their seed alone, at any depth.
    """
    if not folders:
        raise UserError("seeds takes folders of runs, each with the same run of several seeds, but was given none")
    columns = [_of(folder) for folder in folders]
    settings = {setting: rows[0] for column in columns for setting, rows in column.items()}
    counts = [str(max(map(len, column.values()))) for column in columns]
    lines = [["", *map(str, folders)], ["seeds", *counts]]
    lines += [
        [described(row), *(_cell(column.get(setting)) for column in columns)] for setting, row in settings.items()
    ]
    return aligned(lines)


def _of(folder: Path) -> Found:
    """Each measured value with its rows."""
    there = {*folder.rglob(FILE)}
    files = [file for file in sorted(there) if not any(parent / FILE in there for parent in file.parents[1:])]
    if not files:
        raise UserError(f"there are no results in {folder}: give folders of runs that have ended")
    found: Found = {}
    for file in files:
        for row in read(file.parent)[0]:
            rows = found.setdefault(tuple(row.get(key) for key in SETTING), [])
            if row["seed"] in [other["seed"] for other in rows]:
                raise UserError(
                    f"{folder} holds several results of seed {row['seed']}, one of them in {file.parent}: give a "
                    "folder for each run, with its seeds"
                )
            rows.append(row)
    return found


def _cell(rows: list[Row] | None) -> str:
    if rows is None:
        return "-"
    percent = is_share(rows[0])
    values, digits = [row["value"] * (100 if percent else 1) for row in rows], 1 if percent else 2
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}{' %' if percent else ''}"
