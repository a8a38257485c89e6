from pathlib import Path

import pytest
from sslab.eval.reports.results import write
from sslab.eval.reports.seeds import seeds
from sslab.ssl.core.errors import UserError

ROW = {"representation": "trained", "metric": "knn_accuracy", "k": 20, "T": 0.07, "layer": "h", "standard_error": 0.1}


def results(folder: Path, seed: int, accuracy: float, rankme: float | None = None) -> None:
    folder.mkdir(parents=True)
    rows = [{**ROW, "value": accuracy, "seed": seed}]
    if rankme is not None:
        other = {"representation": "trained", "metric": "rankme", "layer": "h"}
        rows.append({**other, "value": rankme, "seed": seed})
    write(rows, folder)


def test_mean_and_deviation_over_seeds_with_a_column_for_each_folder(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for seed, accuracy in enumerate((0.4, 0.5, 0.6)):
        results(a / "day" / f"run{seed}", seed, accuracy, rankme=10.0 + seed)
        results(a / "day" / f"run{seed}" / "eval" / "again", seed, 0.9)  # of the run that it lies in
    results(b / "run", 0, 0.25)
    head, number, knn, rankme = (line.split("  ") for line in seeds([a, b]).splitlines())
    cells = [[cell.strip() for cell in line if cell.strip()] for line in (head, number, knn, rankme)]
    assert cells == [
        [str(a), str(b)],
        ["seeds", "3", "1"],
        ["trained, knn k=20", "50.0 ± 10.0 %", "25.0 %"],
        ["trained, rankme", "11.00 ± 1.00", "-"],
    ]


def test_what_is_no_run_of_several_seeds(tmp_path):
    with pytest.raises(UserError, match="was given none"):
        seeds([])
    with pytest.raises(UserError, match="there are no results in"):
        seeds([tmp_path])
    results(tmp_path / "a", 0, 0.5)
    results(tmp_path / "b", 0, 0.6)
    with pytest.raises(UserError, match=r"several results of seed 0, one of them in .*b: give a folder for each run"):
        seeds([tmp_path])
