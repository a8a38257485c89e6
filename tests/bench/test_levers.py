"""Every lever of the study can be pulled, and what an optimiser's step costs can be measured."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from cli import ROOT

TINY = ("trainer=cpu", "data.source.train=64", "data.source.test=32", "data.batch_size=16", "data.holdout=0")


@pytest.fixture
def levers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("bench.levers")


def test_every_lever_composes(levers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["levers", "--out", str(tmp_path / "no.csv"), "--set", *TINY])
    options = levers.arguments()
    for lever in levers.LEVERS.values():
        options.backbone = "vit_t" if "backbone.patch=4" in lever.choices else "resnet_tiny"
        choices = tuple(c for c in lever.choices if not c.startswith("data.batch_size"))
        parts = levers.composed(options, lever._replace(choices=choices), 2, 0)
        assert parts.module.optim.name == "muon"
        lever.callbacks()


def test_levers_that_are_callbacks_train_and_are_measured_once(
    levers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "levers.csv"
    of_resnets = ["averaged", "small_first", "whitened_stem", "larger_batch_later"]
    monkeypatch.setitem(levers.LEVERS, "larger_batch_later", levers.Lever((), lambda: [levers.LargerBatch(8)]))
    for backbone, names in (("resnet_tiny", of_resnets), ("vit_t", ["tokens_half"])):
        arguments = ["--out", str(out), "--backbone", backbone, "--steps", "2", "--levers", *names, "--set", *TINY]
        monkeypatch.setattr(sys, "argv", ["levers", *arguments])
        levers.main()
    first = out.read_text()
    levers.main()
    assert out.read_text() == first
    found = levers.rows(out)
    assert [row["lever"] for row in found] == [*of_resnets, "tokens_half"]
    assert all(0 <= float(row[name]) <= 100 for row in found for name in ("knn", "linear"))
    assert all(row["lever"] in line for row, line in zip(found, levers.table(found).splitlines()[2:], strict=True))


def test_the_step_of_every_optimiser_has_a_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    updates = importlib.import_module("bench.updates")
    monkeypatch.setattr(sys, "argv", ["updates", "--backbones", "resnet_tiny", "--images", "4", "--rounds", "1"])
    updates.main()
    state = {line.split()[1]: float(line.split()[4]) for line in capsys.readouterr().out.splitlines()[1:]}
    assert state.keys() == set(updates.NAMES)
    assert 1.9 < state["adamw"] / state["sgd"] < 2.1
    assert 1.0 <= state["muon"] / state["sgd"] < 1.1
