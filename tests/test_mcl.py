"""The recipe of several runs: what it trains, what it leaves, and that it goes on where it was stopped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from cli import Cli
from sslab.ssl.core.run_folder import read
from sslab.ssl.pretrained.of_run import trained_backbone

TINY = (
    "trainer=cpu",
    "trainer.max_epochs=null",
    "trainer.max_steps=3",
    "trainer.log_every=1",
    "trainer.keep_every=1",
    "trainer.precision=32-true",
    "data.source.train=256",
    "data.source.test=64",
    "data.batch_size=32",
    "data.holdout=16",
    "backbone=resnet_tiny",
    "head.hidden=32",
    "head.dim=16",
    "latent.queue.size=128",  # a key that only some bases have
    "seed=3",
)
MCL = ("experiment=mcl", "base=mocov2", "stages=2", "clusters=3")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def results(run: Path) -> list[dict]:
    rows = json.loads((run / "results.json").read_text())
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.mark.slow
def test_a_recipe_runs_whole_and_goes_on_where_it_was_stopped(cli: Cli) -> None:
    parent = cli.run(*MCL, *TINY, "eval.protocols.knn.k=[5]")
    stage_0_is_the_base(parent, cli.run("experiment=mocov2", *TINY, "eval=none"))
    stage_1_is_of_groups(parent)
    the_backbone_is_all_of_them(parent)
    names = ["mcl", "control", "stage 0", "stage 1", "untrained", "pixels"]
    rows = results(parent)
    assert list(dict.fromkeys(row["representation"] for row in rows)) == names
    assert {(row["stages"], row["clusters"]) for row in rows} == {(2, 3)}

    stage, before = parent / "stage-1", weights(parent / "stage-1")
    shutil.copy(stage / "checkpoints" / "step-000001.ckpt", stage / "checkpoints" / "last.ckpt")
    for file in (stage / "backbone.safetensors", parent / "backbone.safetensors", parent / "results.json"):
        file.unlink()
    kept = {name: (parent / name / "log.txt").read_text() for name in ("stage-0", "control-1")}
    assert cli(f"resume={parent}").code == 0
    assert equal(weights(stage), before)
    assert results(parent) == rows
    assert kept == {name: (parent / name / "log.txt").read_text() for name in kept}


def stage_0_is_the_base(parent: Path, base: Path) -> None:
    assert equal(weights(parent / "stage-0"), weights(base))
    theirs, ours = (yaml.safe_load((run / "config.yaml").read_text()) for run in (base, parent / "stage-0"))
    assert {k: v for k, v in ours.items() if k != "name"} == {k: v for k, v in theirs.items() if k != "name"}


def stage_1_is_of_groups(parent: Path) -> None:
    stage, control = read(parent / "stage-1"), read(parent / "control-1")
    assert stage["seed"] == control["seed"] != 3
    assert list(stage["latent"]) == ["groups", "queue"]
    assert stage | {key: control[key] for key in ("latent", "data")} == control
    assert not equal(weights(parent / "stage-1"), weights(parent / "control-1"))
    group = torch.from_numpy(np.load(parent / "groups-1.npy"))
    state = weights(parent / "stage-1")
    assert torch.equal(state["latent.0.table"], group)
    queued = state["latent.1.group"].view(-1, 32)
    assert torch.equal(queued[queued >= 0], group[state["latent.1.row"].view(-1, 32)[queued >= 0]])
    assert all(len(batch.unique()) == 1 for batch in queued)
    assert "100.0 % of the images can be drawn" in (parent / "log.txt").read_text()


def the_backbone_is_all_of_them(parent: Path) -> None:
    whole, first, second = map(trained_backbone, (parent, parent / "stage-0", parent / "stage-1"))
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.cat([first.eval()(image).pooled, second.eval()(image).pooled], dim=1)
        assert torch.equal(whole(image).pooled, expected)


def test_a_preview_is_of_the_base(cli: Cli) -> None:
    run = cli.run(*MCL, *TINY, "preview=true")
    assert (run / "views.png").exists()
    assert not list(run.glob("stage*"))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("stages=0", "stages=0: expected 1 or more"),
        ("clusters=0", "clusters=0: expected 1 or more"),
        ("stages=two", "recipe.stages='two' is of the wrong type: expected int"),
        ("clusters=257", "clusters=257, but there are 256 training images"),
        ("base=mocov3a", "base=mocov3a is no choice: did you mean mocov3"),
        ("base=mcl", "base=mcl is no choice"),
        ("base=null", "null is no choice"),
        ("data.batch_size=128 latent.queue.size=256", "240 training images do not fill two groups of one batch of 128"),
        ("latent.queue.size=100", "queue of size=100 does not hold whole batches"),
    ],
)
def test_what_cannot_work_is_refused(cli: Cli, overrides: str, expected: str) -> None:
    assert expected in cli.refuse(*MCL, *TINY, *overrides.split())


def test_a_recipe_does_not_run_on_ranks(cli: Cli) -> None:
    cli.monkeypatch.setenv("WORLD_SIZE", "2")
    assert "a recipe starts its runs itself" in cli.refuse(*MCL, *TINY)
