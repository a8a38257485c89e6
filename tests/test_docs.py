"""Every command in the README and the docs runs, with fewer and smaller steps."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import timm
import torch
from cli import ROOT, SMALL, Cli
from foregrounds import save_foreground
from PIL import Image
from safetensors.torch import save_file

DOCS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "bench" / "README.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
)
SCRIPTS = sorted((ROOT / "docs").glob("**/*.sh"))
FEW = ("trainer.max_epochs=null", "trainer.max_steps=1", "trainer.log_every=1", "data.batch_size=8")
FEW_IMAGES = ("data.source.train=160", "data.source.test=40")
ELSEWHERE = (
    "make ",
    "pip ",
    "torchrun ",
    "bash bench/gpu.sh",
)  # tested below, or by whoever could run this test at all
NEEDS_GPU = "trainer=ddp "


def commands() -> list[str]:
    blocks = [block for file in DOCS for block in re.findall(r"```bash\n(.*?)```", file.read_text(), re.DOTALL)]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    scripted = [line.strip() for script in SCRIPTS for line in script.read_text().splitlines()]
    lines += [line for line in scripted if line.startswith("python ")]
    return list(dict.fromkeys(line for line in lines if line))


TRAINING = [command for command in commands() if command.startswith("python train.py")]
EVALUATING = [command for command in commands() if command.startswith("python -m sslab.eval")]
GENERATING = [command for command in commands() if command.startswith("python -m sslab.datamodules.generate")]


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    tested = TRAINING + EVALUATING + GENERATING
    scripts = [f"bash {script.relative_to(ROOT)}" for script in SCRIPTS]
    for command in commands():
        assert command in tested + scripts or command.startswith((*ELSEWHERE, "python -m bench.")), command


@pytest.fixture
def places(cli: Cli, generate: Cli, request: pytest.FixtureRequest) -> dict[str, str]:
    """What a user has: a folder of images, a table of images, an earlier run."""
    images = cli.folder / "images"
    for i in range(60):
        file = images / f"class{i % 2}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 30), 50 + i).save(file)
    found = {"IMAGES": str(images), "ROOT": str(images), "OUT": "out"}
    if "$TABLE" in request.node.callspec.params["command"]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [file.read_bytes() for file in sorted(images.rglob("*.png"))]
        pq.write_table(pa.table({"image": rows, "label": [i % 2 for i in range(60)]}), cli.folder / "table.parquet")
        found["TABLE"] = str(cli.folder / "table.parquet")
    if "$PAIRS" in request.node.callspec.params["command"]:
        lines = [f"class0/{i}.png,class1/{i + 1}.png" for i in range(0, 60, 2)]
        (images / "pairs.csv").write_text("\n".join(["image,partner", *lines]))
        found["PAIRS"] = str(images / "pairs.csv")
    if "$RUN" in request.node.callspec.params["command"]:
        found["RUN"] = str(cli.run(*SMALL, "trainer.max_steps=1", "eval=none"))
    if "$FOREGROUND" in request.node.callspec.params["command"]:
        found["FOREGROUND"] = save_foreground(cli.folder / "foreground")
    if "$PARTNERS" in request.node.callspec.params["command"]:
        found["PARTNERS"] = str(cli.folder / "partners")
        assert generate("trainer=cpu", *FEW_IMAGES, f"out={found['PARTNERS']}").code == 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("command", TRAINING)
def test_commands_run(cli: Cli, places: dict[str, str], command: str) -> None:
    if "download=true" in command:  # without it all else is checked, up to the files that are not there
        refused = cli.refuse(
            *shlex.split(command.replace("download=true", "download=false").replace("$ROOT", "none"))[2:]
        )
        assert "data.download=true" in refused
        return
    if NEEDS_GPU in f"{command} " and not torch.cuda.is_available():
        assert "no CUDA device" in cli.refuse(*shlex.split(command)[2:])
        return
    for name, value in places.items():
        command = command.replace(f"${name}", value)
    arguments = shlex.split(command.replace("seed=0,1,2", "seed=0,1"))[2:]
    if "resume=" in command or "--help" in command:
        assert cli(*arguments).code == 0
        return
    shapes = "data=" not in command or "data=inflated" in command
    small = [*FEW, *(FEW_IMAGES if shapes else ())]
    small += ["trainer.cached_batch=4"] if "cached_batch=" in command else []
    small += ["stages=2"] if "stages=" in command else []
    small += ["~eval.protocols.factors.protocols.linear"] if "eval=factors" in command else []  # ten slow probes
    cpu = [] if "trainer=" in command else ["trainer=cpu"]
    result = (cli.process if "trainer=ddp_cpu" in arguments else cli)(*arguments, *small, *cpu)
    assert result.code == 0, result.err
    if not {"preview=true", "-m", "eval=none"} & {*arguments}:
        assert "trained" in result.out


@pytest.mark.slow
@pytest.mark.parametrize("command", GENERATING)
def test_generating_commands_run(generate: Cli, places: dict[str, str], ddpm: Path, unclip: Path, command: str) -> None:
    levels = generate.folder / "levels.csv"
    levels.write_text("\n".join(["row,noise_level", *(f"{row},{100 * (row % 5)}" for row in range(60))]))
    places |= {"DDPM": str(ddpm), "UNCLIP": str(unclip), "LEVELS": str(levels)}
    for name, value in places.items():
        command = command.replace(f"${name}", value)
    small = ["trainer=cpu", "trainer.max_steps=1", "trainer.log_every=1", "data.batch_size=2"]
    small += ["batch_size=2", "limit=2", *(("data.source.train=60",) if "data=shapes" in command else ())]
    small += ["generator.steps=2"] if "generator.folder" in command else []
    small += ["train_generator.channels=[8,8]"] if "train_generator" in command else []
    result = generate(*shlex.split(command)[3:], *small)
    assert result.code == 0, result.err
    made = [*generate.folder.glob("out/**/*.parquet"), *generate.folder.glob("out/**/unet")]
    assert made or "--help" in command


def lists(folder: Path) -> str:
    """A table of queries, of what each should find, and of distractors."""
    for i in range(12):
        Image.effect_noise((40, 30), 50 + i).save(folder / f"{i}.png")
    lines = [f"{i}.png,{i + 4}.png,positive" for i in range(4)] + [f",{i}.png," for i in range(8, 12)]
    (folder / "lists.csv").write_text("\n".join(["query,image,relevance", *lines]))
    return str(folder / "lists.csv")


@pytest.mark.slow
@pytest.mark.parametrize("command", EVALUATING)
def test_evaluating_commands_run(evaluate: Cli, run: Path, command: str) -> None:
    save_file(timm.create_model("resnet18").state_dict(), evaluate.folder / "weights.safetensors")
    few = FEW_IMAGES if "data=" in command else ()
    small = ["protocols.knn.k=[5]"] if few and ("protocol=" not in command or "knn" in command) else []
    small += ["protocols.logreg.penalties=[1.0]"] if "protocol=all" in command or "logreg" in command else []
    command = re.sub(r"\$(RUNS?|OUT/\w+)", str(run), command).replace("$WEIGHTS", "weights.safetensors")
    command = command.replace("$LISTS", lists(evaluate.folder)) if "$LISTS" in command else command
    result = evaluate(*shlex.split(command)[3:], *few, *small)
    assert result.code == 0, result.err
    assert "trained" in result.out


def test_make_sets_up_and_then_runs_what_is_tested() -> None:
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
    parts = dict(re.findall(r"^\| `\+?(\w+/\w+)` \| `([^`]*)` \|", guide, re.MULTILINE))
    for file in (ROOT / "conf").glob("*/*.yaml"):
        assert file.stem in rows[file.parent.name].split(), f"{file.parent.name}={file.stem}"
    for file in (ROOT / "conf").glob("*/*/*.yaml"):
        group = "/".join(file.parent.relative_to(ROOT / "conf").parts)
        assert file.stem in parts[group].split(), f"{group}={file.stem}"
