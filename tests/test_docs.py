"""Every command in the README and the docs runs, with fewer and smaller steps."""

import re
import shlex
import shutil
import subprocess

import pytest
import torch
from cli import ROOT, SMALL, Cli
from PIL import Image

DOCS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FEW = ("trainer.max_epochs=null", "trainer.max_steps=1", "trainer.log_every=1", "data.batch_size=8")
ELSEWHERE = ("make ", "pip ", "torchrun ")  # tested below, or by whoever could run this test at all
NEEDS_GPU = "trainer=ddp "


def commands() -> list[str]:
    blocks = [block for file in DOCS for block in re.findall(r"```bash\n(.*?)```", file.read_text(), re.DOTALL)]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


TRAINING = [command for command in commands() if command.startswith("python train.py")]


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    for command in commands():
        assert command in TRAINING or command.startswith((*ELSEWHERE, "python -m bench.")), command


@pytest.fixture
def places(cli: Cli, request: pytest.FixtureRequest) -> dict[str, str]:
    """What a user has: a folder of images, a table of images, an earlier run."""
    images = cli.folder / "images"
    for i in range(60):
        file = images / f"class{i % 2}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 30), 50 + i).save(file)
    found = {"IMAGES": str(images), "ROOT": str(images)}
    if "$TABLE" in request.node.callspec.params["command"]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [file.read_bytes() for file in sorted(images.rglob("*.png"))]
        pq.write_table(pa.table({"image": rows, "label": [i % 2 for i in range(60)]}), cli.folder / "table.parquet")
        found["TABLE"] = str(cli.folder / "table.parquet")
    if "$RUN" in request.node.callspec.params["command"]:
        found["RUN"] = str(cli.run(*SMALL, "trainer.max_steps=1", "eval=none"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("command", TRAINING)
def test_commands_run(cli: Cli, places: dict[str, str], command: str) -> None:
    if "download=true" in command:
        pytest.skip("downloads a data set")
    if NEEDS_GPU in f"{command} " and not torch.cuda.is_available():
        assert "no CUDA device" in cli.refuse(*shlex.split(command)[2:])
        return
    for name, value in places.items():
        command = command.replace(f"${name}", value)
    arguments = shlex.split(command)[2:]
    if "resume=" in command or "--help" in command:
        assert cli(*arguments).code == 0
        return
    small = list(FEW) + ([] if "data=" in command else [a for a in SMALL if a.startswith("data.source")])
    cpu = [] if "trainer=" in command else ["trainer=cpu"]
    result = (cli.process if "trainer=ddp_cpu" in arguments else cli)(*arguments, *small, *cpu)
    assert result.code == 0, result.err
    if "preview" not in command and "-m" not in arguments:
        assert "trained" in result.out


def test_make_sets_up_and_then_runs_what_is_tested() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make")
    asked = subprocess.run(["make", "-n", "demo", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ".venv/bin/python train.py experiment=demo" in asked
    assert ".venv/bin/python -m pytest" in asked
    assert 'pip install --quiet --editable ".[dev]"' in asked or (ROOT / ".venv" / "ready").exists()


def test_links_lead_somewhere() -> None:
    for file in DOCS:
        for link in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
            assert (file.parent / link).exists(), f"{file.name}: {link}"


def test_the_guide_names_every_choice() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", guide, re.MULTILINE))
    policies = dict(re.findall(r"^\| `\+loss/(\w+)` \| `([^`]*)` \|", guide, re.MULTILINE))
    for file in (ROOT / "conf").glob("*/*.yaml"):
        assert file.stem in rows[file.parent.name].split(), f"{file.parent.name}={file.stem}"
    for file in (ROOT / "conf" / "loss").glob("*/*.yaml"):
        assert file.stem in policies[file.parent.name].split(), f"+loss/{file.parent.name}={file.stem}"
