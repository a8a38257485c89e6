"""Accuracy over time: when a level is reached, as a table with ratios first, and as a plot."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from matplotlib.figure import Figure

KS = (20, 200)
REFERENCE = "lightly"  # whose time is 1
STEP = 5  # percent between two levels
COLUMNS = ("its accuracy in", "whole run", *(f"k={k}" for k in KS), "seconds")


class Run(NamedTuple):
    """A contestant with a schedule of that many epochs; ours with overrides of the default experiment."""

    name: str
    epochs: int
    overrides: Sequence[str] = ()


class Point(NamedTuple):
    """One evaluation of a run."""

    name: str
    epochs: int  # of the whole run
    seed: int
    precision: str
    epoch: int
    seconds: float  # of training until then
    accuracy: tuple[float, ...]  # percent, by KS


Curve = list[Point]
Row = dict[str, Any]


def curves(points: Sequence[Point]) -> dict[tuple[str, int], dict[int, Curve]]:
    """The points of every run, by seed."""
    found: dict[tuple[str, int], dict[int, Curve]] = {}
    for point in points:
        found.setdefault((point.name, point.epochs), {}).setdefault(point.seed, []).append(point)
    return found


def reached(curve: Curve, level: float) -> float | None:
    """The seconds until the first k of KS gives `level` percent, linear between two evaluations; None: never."""
    for before, after in zip(curve, curve[1:], strict=False):
        low, high = before.accuracy[0], after.accuracy[0]
        if high >= level:
            share = max(0.0, level - low) / (high - low) if high > low else 0.0
            return before.seconds + share * (after.seconds - before.seconds)
    return None


def rows(points: Sequence[Point], levels: Sequence[float] | None) -> list[Row]:
    """One row per run, means over seeds; a level counts as reached if it is with every seed."""
    found = curves(points)
    reference = next(seeds for (name, _), seeds in found.items() if name == REFERENCE)
    return [_row(seeds, reference, levels or _levels(points)) for seeds in found.values()]


def _levels(points: Sequence[Point]) -> list[float]:
    start = max(point.accuracy[0] for point in points if point.epoch == 0)
    best = max(point.accuracy[0] for point in points)
    return [float(level) for level in range(STEP * math.ceil(start / STEP + 0.5), math.floor(best) + 1, STEP)]


def _row(seeds: dict[int, Curve], reference: dict[int, Curve], levels: Sequence[float]) -> Row:
    first, ends = next(iter(seeds.values()))[0], [curve[-1] for curve in seeds.values()]
    theirs = {seed: reference[seed][-1] for seed in seeds}
    return {
        "run": first.name,
        "epochs": first.epochs,
        "precision": first.precision,
        "its accuracy in": _mean(
            [_ratio(reached(c, theirs[s].accuracy[0]), theirs[s].seconds) for s, c in seeds.items()]
        ),
        "whole run": mean(end.seconds / theirs[end.seed].seconds for end in ends),
        **{f"k={k}": mean(end.accuracy[i] for end in ends) for i, k in enumerate(KS)},
        "seconds": mean(end.seconds for end in ends),
        "levels": {f"{level:g} %": _times(seeds, reference, level) for level in levels},
    }


def _times(seeds: dict[int, Curve], reference: dict[int, Curve], level: float) -> Row:
    seconds = {seed: reached(curve, level) for seed, curve in seeds.items()}
    ratios = [_ratio(s, reached(reference[seed], level)) for seed, s in seconds.items()]
    return {"ratio": _mean(ratios), "seconds": _mean(list(seconds.values()))}


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return mean(there) if there and len(there) == len(values) else None


def table(rows: Sequence[Row]) -> str:
    """Ratios to lightly's time first; of levels the ratio and the seconds; –: not reached."""
    levels = list(rows[0]["levels"])
    head = ["run", "epochs", f"{REFERENCE}'s accuracy in", *COLUMNS[1:], "precision", *levels]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [_number(row[column], 1 if column.startswith(("k=", "seconds")) else 2) for column in COLUMNS]
        times = [_time(**time) for time in row["levels"].values()]
        lines.append([row["run"], str(row["epochs"]), *cells, row["precision"], *times])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _time(ratio: float | None, seconds: float | None) -> str:
    return "–" if seconds is None else f"{_number(ratio, 2)} ({seconds:.0f} s)"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def save(points: Sequence[Point], file: Path) -> None:
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow([*Point._fields[:-1], *(f"knn_{k}" for k in KS)])
        for point in points:
            writer.writerow([*point[:-2], *(f"{number:.3f}" for number in (point.seconds, *point.accuracy))])


def draw(points: Sequence[Point], file: Path) -> None:
    """Accuracy over seconds and over epochs, a row of plots for each k; shorter schedules are dashed."""
    figure = Figure(figsize=(11, 4 * len(KS)), layout="constrained")
    axes, found = figure.subplots(len(KS), 2, sharey="row"), curves(points)
    names = list(dict.fromkeys(name for name, _ in found))
    equal = next(epochs for name, epochs in found if name == REFERENCE)
    for (name, epochs), seeds in found.items():
        style = {"color": f"C{names.index(name)}", "linestyle": "-" if epochs == equal else "--", "marker": "."}
        for number, curve in enumerate(seeds.values()):
            label = None if number else f"{name}, {epochs} epochs"
            for i, over in enumerate(axes):
                accuracy = [point.accuracy[i] for point in curve]
                over[0].plot([point.seconds for point in curve], accuracy, label=label, **style)
                over[1].plot([point.epoch for point in curve], accuracy, label=label, **style)
    for k, over in zip(KS, axes, strict=True):
        over[0].set(xlabel="seconds of training", ylabel=f"kNN accuracy, k={k}, %")
        over[1].set(xlabel="epochs")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize="small", loc="outside lower center", ncols=2)
    figure.savefig(file, dpi=120)
