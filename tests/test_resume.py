"""A run that is killed and resumed ends with the weights of one that was not, bit for bit."""

import csv
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli import ROOT, SMALL, Cli

STEPS = 40
SIZED = (*SMALL, f"trainer.max_steps={STEPS}", "trainer.checkpoint_every=4", "eval=none", "data.source.train=300")
EMA = ("teacher=ema", "predictor=mlp", "loss=cosine", "teacher.start=0.9")
ACCUMULATE = ("trainer.accumulate=2", "data.batch_size=16")


def killed(folder: Path, step: int, *arguments: str) -> Path:
    """A run in a process of its own that is killed once it has logged `step`; its folder."""
    process = subprocess.Popen([sys.executable, str(ROOT / "train.py"), *arguments], cwd=folder, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"step %d/" % step):
            process.kill()
            break
    process.stderr.close()
    assert process.wait() == -9
    return max(folder.glob("runs/*/*"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def logged(run: Path) -> dict[int, float]:
    with (run / "metrics.csv").open() as f:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(f) if row["loss"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "kills"),
    [("siamese", (), 3), ("ema", EMA, 3), ("accumulate", (*EMA, *ACCUMULATE), 1)],
)
def test_killed_at_any_step_and_resumed(cli: Cli, name: str, arguments: tuple[str, ...], kills: int) -> None:
    whole = cli.run(*SIZED, *arguments)
    time.sleep(1)  # run folders are named by the second
    for step in random.Random(name).sample(range(5, STEPS - 5), kills):
        run = killed(cli.folder, step, *SIZED, *arguments)
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] < STEPS
        assert cli(f"resume={run}").code == 0
        resumed, unbroken = weights(run), weights(whole)
        assert resumed.keys() == unbroken.keys()
        assert all(torch.equal(resumed[k], unbroken[k]) for k in unbroken), f"killed at {step}"
        assert logged(run) == logged(whole)


def test_a_run_that_never_reached_a_checkpoint_starts_again(cli: Cli) -> None:
    short = (*SMALL, "trainer.max_steps=2", "eval=none")
    whole = cli.run(*short)
    before = weights(whole)
    (whole / "checkpoints" / "last.ckpt").unlink()
    assert cli(f"resume={whole}").code == 0
    assert all(torch.equal(before[k], v) for k, v in weights(whole).items())


def test_a_finished_run_is_only_evaluated_again(cli: Cli) -> None:
    run = cli.run(*SMALL, "trainer.max_steps=2")
    before, results = weights(run), (run / "results.json").read_text()
    (run / "results.json").unlink()
    assert cli(f"resume={run}").code == 0
    assert all(torch.equal(before[k], v) for k, v in weights(run).items())
    assert (run / "results.json").exists()
    assert results.count("accuracy") == (run / "results.json").read_text().count("accuracy")
