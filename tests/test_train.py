"""Runs from end to end: what they compute, and what they leave behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from cli import ROOT, SMALL, Cli

SHORT = (*SMALL, "trainer.max_steps=6", "trainer.precision=32-true")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_folder_holds_what_repeats_the_run(cli: Cli) -> None:
    run = cli.run(*SHORT)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["trainer"]["max_steps"] == 6
    assert "${" not in (run / "config.yaml").read_text()
    assert json.loads((run / "environment.json").read_text())["packages"]["torch"] == torch.__version__.split("+")[0]
    assert "step 6/6" in (run / "log.txt").read_text()
    assert (run / "metrics.csv").read_text().startswith("step,")
    assert list((run / "tensorboard").glob("events*"))
    kinds = {row["representation"] for row in json.loads((run / "results.json").read_text())}
    assert kinds == {"trained", "untrained", "pixels"}
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["config"] == config


def test_same_seed_same_weights_and_another_seed_others(cli: Cli) -> None:
    first, second, other = (weights(cli.run(*SHORT, "eval=none", f"seed={s}")) for s in (1, 1, 2))
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_monitors_change_nothing(cli: Cli) -> None:
    quick = ("monitor.geometry.every=1", "monitor.knn.every=2", "data.holdout=50")
    on = cli.run(*SHORT, "eval=none", *quick, "backbone=resnet_tiny")
    off = cli.run(*SHORT, "eval=none", "monitor=none", "data.holdout=50")
    first, second = weights(on), weights(off)
    assert all(torch.equal(first[k], second[k]) for k in first)
    logged = (on / "metrics.csv").read_text().splitlines()[0]
    for name in ("alignment", "uniformity", "rank", "knn", "gradient"):
        assert name in logged
        assert name not in (off / "metrics.csv").read_text()


def test_parts_that_share_nothing_do_not_move_each_others_start(cli: Cli) -> None:
    """The untrained backbone is one and the same whatever the loss, head or teacher."""
    from sslab.ssl.pretrained.of_run import make_backbone

    run = cli.run(*SHORT, "eval=none")
    config = yaml.safe_load((run / "config.yaml").read_text())
    other = config | {"loss": {}, "head": {}}
    first, second = make_backbone(config).state_dict(), make_backbone(other).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_accumulated_batches_make_one_step(cli: Cli) -> None:
    """Without batch statistics or negatives, two half batches are one whole batch."""
    parts = ("loss=cosine", "backbone=vit_t", "head.norm=layer", "predictor=mlp", "predictor.norm=layer")
    parts += ("teacher=ema", "trainer.max_steps=2", "eval=none", "optim=sgd")
    whole = cli.run(*SHORT, *parts, "data.batch_size=16")
    halves = cli.run(*SHORT, *parts, "data.batch_size=8", "trainer.accumulate=2")
    first, second = weights(whole), weights(halves)
    assert all(torch.allclose(first[k], second[k], atol=1e-5) for k in first)


@pytest.mark.slow
def test_two_ranks_train_as_one(cli: Cli) -> None:
    """One process, and two that Lightning or torchrun starts: the same weights where nothing depends on the batch."""
    parts = ("backbone=vit_t", "head.norm=layer", "eval=none", "trainer.max_steps=3", "trainer.log_every=1")
    small = ("data.batch_size=16", "optim=sgd", "trainer.precision=32-true", "loss=dcl", "monitor=none")
    one = cli.run(*SMALL, *parts, *small)
    two = cli.run(*SMALL[1:], "trainer=ddp_cpu", *parts, *small)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(ROOT / "train.py")]
    subprocess.run([*torchrun, *SMALL[1:], "trainer=ddp_cpu", *parts, *small], cwd=cli.folder, check=True)
    (other,) = {file.parent for file in cli.runs()} - {one, two}
    first = weights(one)
    for run in (two, other):
        assert all(torch.allclose(first[k], v, atol=2e-5) for k, v in weights(run).items())


def test_preview_shows_the_views_and_stops(cli: Cli) -> None:
    run = cli.run(*SHORT, "preview=true", "views=byol", "views.count=3")
    assert (run / "views.png").stat().st_size > 1000
    assert not (run / "checkpoints").exists()


def test_a_sweep_runs_every_combination(cli: Cli) -> None:
    result = cli("-m", *SMALL, "trainer.max_steps=1", "loss=infonce,dcl", "backbone=resnet_tiny,vit_t", "eval=none")
    assert result.code == 0, result.err
    names = [f.parent.name for f in sorted(cli.folder.glob("runs/*/*_sweep/*/config.yaml"))]
    assert names == [
        "0_infonce_resnet_tiny_seed0",
        "1_infonce_vit_t_seed0",
        "2_dcl_resnet_tiny_seed0",
        "3_dcl_vit_t_seed0",
    ]
