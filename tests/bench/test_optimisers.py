"""The study of optimisers composes its recipes, and does every run once."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from cli import ROOT

TINY = ("trainer=cpu", "data.source.train=64", "data.source.test=32", "data.batch_size=16", "data.holdout=0")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("bench.optimisers")


def test_every_loss_composes_with_every_optimiser(study: Any) -> None:
    for i, loss in enumerate(study.LOSSES):
        optimiser = list(study.RATES)[i % len(study.RATES)]
        run = study.Run("shapes", "resnet_tiny", loss, optimiser, 0.01, 2, 0)
        queue = ["latent.queue.size=64"] if "latent.queue.size=4096" in study.LOSSES[loss] else []
        module = study.experiment(*run.choices(["data=shapes", *TINY, *queue])).module
        assert module.optim.name == optimiser.removesuffix("_clipped")
        assert (module.optim.peak(256), module.optim.scaling, module.total_steps) == (0.01, "sqrt", 2)


def test_runs_are_measured_once_and_the_best_rate_is_shown(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study.csv"
    few = ["--losses", "simclr", "--optimisers", "muon", "--rates", "0.01", "0.02", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["study", "--out", str(out), *few, "--set", *TINY])
    study.main()
    first = out.read_text()
    study.main()
    assert out.read_text() == first
    found = study.rows(out)
    assert [row["rate"] for row in found] == ["0.01", "0.02"]
    assert all(0 <= float(row[name]) <= 100 for row in found for name in ("knn", "linear"))
    best = max(found, key=lambda row: float(row["knn"]))
    assert f"({best['rate']})" in study.table(found).splitlines()[-1]
