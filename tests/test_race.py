"""The race: fair to all, trained in turns as in one go, and what its table says of curves."""

import csv
import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import ROOT

for needed in ("lightly", "matplotlib"):
    pytest.importorskip(needed, reason='needs pip install -e ".[bench]"')
pytestmark = pytest.mark.filterwarnings("ignore")
IMAGES = ("data.source.train=220", "data.source.test=50", "data.batch_size=32")  # kNN has k=200
OTHER = (
    "backbone=resnet_tiny",
    "monitor=none",
    "trainer=cpu",
    "trainer.max_steps=null",
    "trainer.progress_bar=false",
    "eval=none",
)


@pytest.fixture(autouse=True)
def race(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("bench.race")


@pytest.fixture
def field(race: Any) -> Any:
    return race.Field([*IMAGES, *OTHER], workers=0, same_precision=False)


@pytest.mark.slow
def test_everyone_is_trained_and_the_table_and_the_plot_are_written(
    race: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"images": "220", "test": "50", "epochs": "2", "batch": "32", "workers": "0", "looks": "2"}
    given = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    ours = ["", "optim=sgd optim.lr=0.1"]
    monkeypatch.setattr(
        sys, "argv", ["race", *given, "--ours", *ours, "--shares", "--levels", "1", "99", "--out", str(tmp_path)]
    )
    race.main()
    with (tmp_path / "race.csv").open() as lines:
        found = list(csv.DictReader(lines))
    curves: dict[tuple[str, str], list[dict[str, str]]] = {}
    for point in found:
        curves.setdefault((point["name"], point["epochs"]), []).append(point)
    assert {name for name, _ in curves} == {"lightly", "solo-learn", "ours", "ours optim=sgd optim.lr=0.1"}
    for (name, epochs), curve in curves.items():
        seconds = [float(point["seconds"]) for point in curve]
        assert seconds[0] == 0
        assert seconds == sorted(set(seconds)), name
        assert curve[-1]["epoch"] == epochs
        assert curve[0]["knn_20"] == found[0]["knn_20"], "all begin with the same weights"
    report = json.loads((tmp_path / "race.json").read_text())["rows"]
    assert [(row["run"], str(row["epochs"])) for row in report] == list(curves)
    assert report[0]["whole run"] == 1
    assert all(row["levels"]["99 %"]["seconds"] is None for row in report)
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == len(report) + 2
    assert table[2].startswith("| lightly | 2 | ")
    assert (tmp_path / "race.png").read_bytes()[:4] == b"\x89PNG"


def test_equal_weights_have_equal_accuracies(race: Any, field: Any) -> None:
    runs = [race.Run("lightly", 1), race.Run("solo-learn", 1), race.Run("ours", 1)]
    backbones = [field.contestant(run, seed=3).backbone for run in runs]
    first = backbones[0].state_dict()
    for other in backbones[1:]:
        torch.testing.assert_close(other.state_dict(), first, rtol=0, atol=0)
    assert len({field.accuracy(backbone) for backbone in backbones}) == 1


def test_training_in_turns_is_training_in_one_go(race: Any, field: Any, tmp_path: Path) -> None:
    run = race.Run("ours", 2)
    lab = field.contestant(run, seed=0)
    for _ in lab.epochs():
        torch.randn(7)  # what others draw in between
    whole = field.contestant(run, seed=0).parts
    trainer = whole.training.trainer(tmp_path, whole.module.total_steps, [], [])
    trainer.fit(whole.module, datamodule=whole.datamodule)
    torch.testing.assert_close(lab.backbone.state_dict(), whole.module.backbone.state_dict(), rtol=0, atol=0)


def test_a_run_that_is_left_before_its_end_ends_its_thread(race: Any, field: Any) -> None:
    lab = field.contestant(race.Run("ours", 50), seed=0)
    epochs = lab.epochs()
    next(epochs)
    epochs.close()
    assert lab.parts.module.global_step <= 2 * 6


@pytest.mark.parametrize("name", ["lightly", "solo-learn"])
def test_loops_take_a_step_per_whole_batch_of_the_rows_that_the_lab_trains_on(race: Any, field: Any, name: str) -> None:
    loop = field.contestant(race.Run(name, 2), seed=0)
    assert len(loop.loader.dataset) == len(loop.loader.dataset.arrays) == 216  # 2 % are held out
    assert len(list(loop.epochs())) == 2
    assert loop.schedule.last_epoch == loop.steps == 2 * (216 // 32)


def test_rates_are_those_of_the_documentation(race: Any, field: Any) -> None:
    lightly, solo = (field.contestant(race.Run(name, 5), seed=0) for name in ("lightly", "solo-learn"))
    assert lightly.optimizer.param_groups[0]["lr"] == 0.06
    factor, steps = solo.schedule.lr_lambdas[0], 5 * (216 // 32)
    assert solo.schedule.base_lrs == [0.4 * 32 / 256] * 2
    assert [factor(0), factor(1), factor(2), factor(3)] == [0, 1 / 3, 2 / 3, 1]  # three steps are a tenth
    assert factor(12) == pytest.approx((1 + math.cos(math.pi * 9 / 27)) / 2)
    assert factor(steps) == pytest.approx(0)


def curve(race: Any, name: str, epochs: int, *points: tuple[float, float], seed: int = 0) -> list[Any]:
    return [
        race.Point(name, epochs, seed, "32-true", epoch, seconds, (accuracy, accuracy - 1))
        for epoch, (seconds, accuracy) in enumerate(points)
    ]


def test_levels_are_reached_between_two_evaluations(race: Any) -> None:
    module = importlib.import_module("bench.curves")
    points = curve(race, "ours", 3, (0, 10), (4, 30), (6, 20), (10, 60))
    assert [module.reached(points, level) for level in (10, 20, 30, 40, 60)] == [0, 2, 4, 8, 10]
    assert module.reached(points, 61) is None


def test_ratios_are_means_over_seeds_and_none_where_a_seed_fails(race: Any) -> None:
    points = [
        *curve(race, "lightly", 1, (0, 10), (100, 50)),
        *curve(race, "lightly", 1, (0, 10), (200, 50), seed=1),
        *curve(race, "ours", 1, (0, 10), (20, 50)),
        *curve(race, "ours", 1, (0, 10), (60, 70), seed=1),
    ]
    theirs, ours = race.rows(points, [30, 60])
    assert theirs["its accuracy in"] == theirs["whole run"] == 1
    assert ours["its accuracy in"] == pytest.approx((20 / 100 + 40 / 200) / 2)
    assert ours["whole run"] == pytest.approx((20 / 100 + 60 / 200) / 2)
    assert (ours["k=20"], ours["k=200"]) == (60, 59)
    assert ours["levels"]["30 %"] == {"ratio": pytest.approx((10 / 50 + 20 / 100) / 2), "seconds": 15}
    assert ours["levels"]["60 %"] == {"ratio": None, "seconds": None}


def test_shares_of_lightlys_time_become_epochs(race: Any) -> None:
    ours = [race.Run("ours", 1), race.Run("ours optim=muon", 1, ["optim=muon"])]
    runs = race.entered(ours, [60.0, 20.0, 120.0], race.Lengths(10, None, [0.2, 0.5]))
    assert [(run.name, run.epochs) for run in runs] == [
        *[("lightly", 10), ("solo-learn", 10), ("ours", 6), ("ours", 10), ("ours", 15)],
        *[("ours optim=muon", 1), ("ours optim=muon", 2), ("ours optim=muon", 10)],
    ]
    assert runs[-1].overrides == ["optim=muon"]
    assert [run.epochs for run in race.entered(ours[:1], [60.0, 20.0], race.Lengths(10, 3.0, [1.0]))] == [3, 3, 3, 9]


def test_evaluations_are_evenly_spaced_and_the_last_epoch_is_one(race: Any) -> None:
    assert race.looked_at(10, 4) == {3, 5, 8, 10}
    assert race.looked_at(2, 8) == {1, 2}


def test_only_the_first_images_of_files_are_copied(race: Any, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in ("train", "test"):
        pq.write_table(pa.table({"image": [b"a", b"b", b"c"], "label": [0, 1, 2]}), tmp_path / f"{part}.parquet")
    options = race.argparse.Namespace(data=tmp_path, images=2, test=None)
    with race.files(options) as (data, train, test):
        assert data == "data=parquet"
        assert pq.read_table(train.split("=")[1])["label"].to_pylist() == [0, 1]
        assert test == f"data.test={tmp_path / 'test.parquet'}"
