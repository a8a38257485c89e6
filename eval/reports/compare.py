"""Two evaluations side by side, image by image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...ssl.core.errors import UserError
from ..measures.bootstrap import Comparison, paired
from .results import Row, Score, aligned, is_share, read, title

SETTING = ("metric", "protocol", "k", "T", "layer", "factor", "representation")


def compare(folders: Sequence[Path]) -> str:
    """A table of what both have measured: the values, their difference with its 95 % interval, and p.

    Where there is a score for every test image the interval is a paired bootstrap over the images; other metrics have
    their values alone.
    """
    if len(folders) != 2:
        raise UserError(f"compare takes two folders of results, but was given {len(folders)}")
    first, second = (_by_setting(folder) for folder in folders)
    lines = [["", *map(str, "ab"), "a - b", "95 %", "p", "n"]]
    for setting, (row, score) in first.items():
        if setting in second:
            other, other_score = second[setting]
            lines.append([described(row), _shown(row), _shown(other), *_difference(row, score, other, other_score)])
    if len(lines) == 1:
        raise UserError(f"{folders[0]} and {folders[1]} have no metric in common: evaluate both by one protocol")
    return f"a  {folders[0]}\nb  {folders[1]}\n{aligned(lines)}"


def _by_setting(folder: Path) -> dict[tuple[Any, ...], tuple[Row, Score | None]]:
    rows, scores = read(folder)
    return {tuple(row.get(key) for key in SETTING): (row, scores.get(n)) for n, row in enumerate(rows)}


def _difference(row: Row, score: Score | None, other: Row, other_score: Score | None) -> list[str]:
    if score is None or other_score is None:
        return [f"{row['value'] - other['value']:.4g}", "", "", ""]
    if row.get("test") != other.get("test") or not torch.equal(score[0], other_score[0]):
        raise UserError(
            f"{row['metric']} was measured on other test images (data {row.get('data')} and {other.get('data')}): "
            "evaluate both on the same data"
        )
    found: Comparison = paired(score[1], other_score[1])
    percent = [f"{100 * x:+.2f}" for x in (found.difference, found.low, found.high)]
    return [percent[0], f"{percent[1]} to {percent[2]}", f"{found.p:.3f}", str(len(score[0]))]


def described(row: Row) -> str:
    """The representation, the factor if any, and the metric."""
    factor = f"{row['factor']}, " if "factor" in row else ""
    return f"{row['representation']}, {factor}{title(row)}"


def _shown(row: Row) -> str:
    return f"{100 * row['value']:.2f} %" if is_share(row) else f"{row['value']:.4g}"
