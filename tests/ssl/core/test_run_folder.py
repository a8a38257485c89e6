import csv
from pathlib import Path

import pytest
import yaml
from sslab.ssl.core import run_folder as run
from sslab.ssl.core.errors import UserError
from sslab.ssl.experiment.metrics_csv import MetricsCSV

CONFIG = {"name": "a", "seed": 0, "optim": {"lr": 0.1, "warmup": 0.0}, "views": [1, 2]}


def test_identity_is_what_is_computed_and_not_how_it_is_called() -> None:
    assert run.identity(CONFIG) == run.identity(CONFIG | {"name": "b", "resume": "there", "debug": True})
    assert run.identity(CONFIG) != run.identity(CONFIG | {"seed": 1})
    reordered = dict(reversed(list(CONFIG.items())))
    assert run.identity(CONFIG) == run.identity(reordered)


def test_a_difference_names_the_key_and_both_values() -> None:
    other = CONFIG | {"optim": {"lr": 0.2, "warmup": 0.0}, "views": [1], "extra": 3}
    found = [("optim.lr", 0.1, 0.2), ("views", [1, 2], [1]), ("extra", None, 3)]
    assert list(run.differences(CONFIG, other)) == found
    with pytest.raises(UserError, match=r"(?s)another.*optim\.lr: 0\.1 → 0\.2"):
        run.refuse_change(CONFIG, other, "another run")


def test_a_folder_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    run.create(tmp_path / "run", CONFIG)
    assert run.read(tmp_path / "run") == CONFIG
    assert yaml.safe_load((tmp_path / "run" / "environment.json").read_text())["packages"]["torch"]
    with pytest.raises(UserError, match="cannot write the run folder"):
        run.create(tmp_path / "run", CONFIG)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as f:
        return list(csv.DictReader(f))


def test_metrics_of_one_step_share_a_row_and_columns_may_come_late(tmp_path: Path) -> None:
    metrics = MetricsCSV(tmp_path)
    metrics.log_metrics({"loss": 1.0}, 0)
    metrics.log_metrics({"loss": 0.5}, 10)
    metrics.log_metrics({"rank": 3.0}, 10)
    metrics.save()
    first, second = rows(tmp_path)
    assert first == {"step": "0", "loss": "1.0", "rank": ""}
    assert second == {"step": "10", "loss": "0.5", "rank": "3.0"}


def test_a_resumed_run_keeps_what_it_will_not_compute_again(tmp_path: Path) -> None:
    metrics = MetricsCSV(tmp_path)
    for step in (0, 10, 20):
        metrics.log_metrics({"loss": float(step)}, step)
    metrics.save()
    resumed = MetricsCSV(tmp_path)
    resumed.resume(20)
    resumed.log_metrics({"loss": 99.0}, 20)
    resumed.save()
    assert [row["loss"] for row in rows(tmp_path)] == ["0.0", "10.0", "99.0"]
