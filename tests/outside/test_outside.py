"""A package outside the repository, with its own parts and configs, trains and evaluates."""

import json
import re
from pathlib import Path

import pytest
from cli import ROOT, SMALL, Cli

HERE = Path(__file__).parent / "foreign"
SEARCH = "hydra.searchpath=[pkg://foreign.conf]"
PARTS = ("loss", "data", "backbone", "views", "head", "teacher", "monitor")
CHOICES = [*(f"{part}=foreign" for part in PARTS), "latent=[foreign]", "trainer=cpu", "trainer.max_steps=4"]


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE.parent)


def test_foreign_parts_train_resume_and_are_evaluated(cli: Cli, evaluate: Cli) -> None:
    run = cli.run(SEARCH, *CHOICES)
    rows = json.loads((run / "results.json").read_text())
    assert {row["representation"] for row in rows} == {"trained", "untrained", "pixels"}
    assert "monitor/q_norm" in (run / "metrics.csv").read_text()
    assert cli(f"resume={run}").code == 0
    done = evaluate(SEARCH, f"checkpoint={run}", "protocol=foreign", "out=found")
    assert done.code == 0, done.err
    (row,) = json.loads(Path("found/results.json").read_text())
    assert row["metric"] == "centroid_accuracy"
    assert row["value"] > 0.9


def test_the_commands_of_the_guide_run(cli: Cli) -> None:
    commands = re.findall(r"^    python train.py (.*loss=foreign.*)$", (ROOT / "docs" / "guide.md").read_text(), re.M)
    assert len(commands) == 2
    for command in commands:
        arguments = command.replace("tests/outside", str(HERE.parent)).split()
        cli.run(*arguments, *SMALL, "trainer.max_steps=1", "eval=none")


def test_a_part_is_short() -> None:
    for part in (*PARTS, "latent", "protocol"):
        code, config = HERE / f"{part}.py", HERE / "conf" / part / "foreign.yaml"
        lines = [line for file in (code, config) for line in file.read_text().splitlines() if line.strip()]
        assert len(lines) <= 25, part


def test_all_that_a_foreign_part_lacks_is_said_in_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path("own")
    own.mkdir()
    (own / "incomplete.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    pass\n\n\nclass Views:\n    count = 2\n"
    )
    (own / "backbone").mkdir()
    (own / "backbone" / "own.yaml").write_text("_target_: incomplete.Net\n")
    (own / "views").mkdir()
    (own / "views" / "own.yaml").write_text("_target_: incomplete.Views\n")
    monkeypatch.syspath_prepend(own.resolve())
    search = f"hydra.searchpath=[file://{own.resolve()}]"
    line = cli.refuse(search, "trainer=cpu", "backbone=own")
    assert "backbone: Net lacks forward, dim, trunk" in line
    line = cli.refuse(search, "trainer=cpu", "views=own")
    assert "views: Views lacks __call__, mean, sides, std, targets" in line
