"""The whole path, from the command line to the files, with real pipelines of diffusers."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli import Cli
from PIL import Image
from sslab.datamodules.sources.parquet import Parquet

SMALL = ("trainer=cpu", "data.source.train=30", "data.source.test=1", "batch_size=4", "parts.batches=2", "count=20")


def arguments(kind: str, request: pytest.FixtureRequest) -> tuple[str, ...]:
    if kind == "variant":
        return (*SMALL, "generator=variant")
    if kind == "variation":
        levels = Path(request.getfixturevalue("tmp_path"), "levels.csv")
        levels.write_text("\n".join(["row,noise_level", *(f"{row},{100 * (row % 5)}" for row in range(30))]))
        folder = request.getfixturevalue("unclip")
        return (
            *SMALL,
            "generator=variation",
            f"generator.folder={folder}",
            "generator.steps=2",
            f"generator.levels={levels}",
        )
    return (*SMALL, f"generator={kind}", f"generator.folder={request.getfixturevalue('ddpm')}", "generator.steps=3")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def made(generate: Cli, out: str, *arguments: str) -> dict[str, bytes]:
    """The files of the set."""
    result = generate(*arguments, f"out={out}")
    assert result.code == 0, result.err
    return {file.name: file.read_bytes() for file in generate.folder.joinpath(out).glob("part*")}


@pytest.mark.parametrize("kind", ["variant", "variation", "ddpm", "ddim", "pipeline"])
def test_killed_sharded_or_limited_it_is_the_same_set(generate: Cli, kind: str, request: pytest.FixtureRequest) -> None:
    given = arguments(kind, request)
    whole = made(generate, "whole", *given)
    assert sorted(whole) == [f"part-{number:06d}.parquet" for number in range(3)]
    assert len({row["sha256"] for row in rows(generate.folder / "whole")}) == 20

    limited = made(generate, "broken", *given, "limit=10")
    assert limited["part-000000.parquet"] == whole["part-000000.parquet"]
    assert [row["seed"] for row in rows(generate.folder / "broken")] == [
        row["seed"] for row in rows(generate.folder / "whole")[:10]
    ]
    broken = generate.folder / "broken"
    (broken / "part-000000.parquet").write_bytes(whole["part-000000.parquet"][:1000])
    (broken / "part-000002.tmp").write_bytes(b"half")
    assert made(generate, "broken", *given) == whole
    assert "made 0 images" in generate(*given, "out=broken").out

    made(generate, "shared", *given, "shard=1", "shards=2")
    assert made(generate, "shared", *given, "shard=0", "shards=2") == whole


def test_torchrun_says_which_shard(generate: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert made(generate, "out", *SMALL).keys() == {"part-000001.parquet"}


def test_every_image_says_what_it_is_of(generate: Cli, request: pytest.FixtureRequest) -> None:
    made(generate, "out", *arguments("variation", request), "count=33")
    table = rows(generate.folder / "out")
    assert [row["row"] for row in table] == [*range(30), 0, 1, 2]
    assert [row["noise_level"] for row in table] == [100 * (row["row"] % 5) for row in table]
    assert len({row["seed"] for row in table}) == 33
    for row in table:
        assert row["sha256"] == hashlib.sha256(row["image"]).hexdigest()
        assert row["model"].startswith("unclip0:")
        assert row["steps"] == 2
    settings = json.loads((generate.folder / "out" / "manifest.json").read_text())["settings"]
    assert settings["pipeline"] == "StableUnCLIPImg2ImgPipeline"
    assert settings["originals"]["train"] == 30
    assert settings["levels"].startswith("levels.csv:")


def test_the_set_is_read_as_it_is(generate: Cli, request: pytest.FixtureRequest) -> None:
    made(generate, "out", *arguments("ddim", request))
    source = Parquet(str(generate.folder / "out" / "*.parquet"))
    assert len(source.train) == 20
    assert source.train.read(19).shape == (3, 16, 16)
    assert (source.train.label == -1).all()
    assert {row["row"] for row in rows(generate.folder / "out")} == {-1}


def test_the_noise_level_reaches_the_pipeline(generate: Cli, request: pytest.FixtureRequest) -> None:
    """Images of one level are those of a table in which some rows have it, where batches are the same."""
    given = arguments("variation", request)
    made(generate, "table", *given, "batch_size=1", "count=6")
    made(generate, "zero", *given, "batch_size=1", "count=6", "generator.levels=0")
    pairs = zip(rows(generate.folder / "table"), rows(generate.folder / "zero"), strict=True)
    assert [a["sha256"] == b["sha256"] for a, b in pairs] == [row % 5 == 0 for row in range(6)]


def test_seeds_give_other_images(generate: Cli, request: pytest.FixtureRequest) -> None:
    given = arguments("ddpm", request)
    sets = [made(generate, f"seed{seed}", *given, f"seed={seed}") for seed in (0, 1)]
    hashes = [{row["sha256"] for row in rows(generate.folder / f"seed{seed}")} for seed in (0, 1)]
    assert len(sets) == 2
    assert not hashes[0] & hashes[1]


def test_originals_that_cannot_be_read_have_no_variation(generate: Cli) -> None:
    images = generate.folder / "images"
    images.mkdir()
    for number in range(10):
        Image.effect_noise((20 + number, 16), 50).save(images / f"{number}.png")
    (images / "3.png").write_bytes(b"no image")
    given = ("trainer=cpu", "data=folder", f"data.root={images}", "batch_size=4", "out=out")
    assert "1 of 10 images cannot be read" in generate(*given).err
    assert generate(*given, "data.max_bad=0.2").code == 0
    assert [row["row"] for row in rows(generate.folder / "out")] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert "3.png" in (generate.folder / "out" / "bad_files.txt").read_text()
    assert "made 0 images" in generate(*given, "data.max_bad=0.2").out


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ("seed=1", "seed: 0 → 1"),
        ("batch_size=2", "batch_size: 4 → 2"),
        ("parts.batches=3", "part: 8 → 12"),
        ("generator.steps=2", "steps: 3 → 2"),
        ("generator=ddim generator.steps=3", "pipeline: DDPMPipeline → DDIMPipeline"),
        ("trainer.precision=16-mixed", "precision: "),
    ],
)
def test_other_settings_are_refused(
    generate: Cli, request: pytest.FixtureRequest, changed: str, difference: str
) -> None:
    given = (*arguments("ddpm", request), "out=out")
    assert generate(*given, "limit=1").code == 0
    files = {file: file.read_bytes() for file in (generate.folder / "out").iterdir()}
    folder = next(a for a in given if a.startswith("generator.folder"))
    result = generate(*given, *changed.split(), folder)
    assert result.code == 2
    assert "holds images that were made otherwise; set another out" in result.err
    assert difference in result.err
    assert files == {file: file.read_bytes() for file in (generate.folder / "out").iterdir()}


def test_other_weights_and_other_levels_are_other_settings(generate: Cli, ddpm: Path, tmp_path: Path) -> None:
    shutil.copytree(ddpm, tmp_path / "model")
    given = (*SMALL, "generator=ddim", f"generator.folder={tmp_path / 'model'}", "generator.steps=1", "out=out")
    assert generate(*given).code == 0
    (tmp_path / "model" / "scheduler" / "scheduler_config.json").write_text("{}")
    assert "model: model:" in generate(*given).err
    assert generate(*SMALL, "out=variants").code == 0
    assert "levels: 200 → 300" in generate(*SMALL, "out=variants", "generator.levels=300").err
    assert "originals.texture: none → mild" in generate(*SMALL, "out=variants", "data.texture=mild").err


@pytest.mark.parametrize("kind", ["ddpm", "variation"])
def test_without_weights(generate: Cli, kind: str) -> None:
    line = generate.refuse(*SMALL, f"generator={kind}", "generator.folder=nowhere", "out=out")
    assert "generator.folder=nowhere holds no pipeline of diffusers" in line
    assert "nothing is downloaded" in line
    assert "set generator.folder=…" in generate.refuse(*SMALL, f"generator={kind}", "out=out")


def test_without_diffusers(generate: Cli, ddpm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    line = generate.refuse(*SMALL, "generator=ddpm", f"generator.folder={ddpm}", "out=out")
    assert "needs diffusers: pip install 'sslab[generate]'" in line
    assert "pip install 'sslab[generate]'" in generate.refuse(*SMALL, "train_generator=ddpm", "out=out")
    assert generate(*SMALL, "out=out").code == 0


def test_pipelines_that_are_for_something_else_or_damaged(generate: Cli, ddpm: Path, unclip: Path) -> None:
    ours = shutil.copytree(ddpm, generate.folder / "ours")
    theirs = (*SMALL, "out=out")
    assert "takes no image and noise level: choose" in generate.refuse(
        *theirs, "generator=variation", f"generator.folder={ddpm}"
    )
    assert "needs more than noise" in generate.refuse(*theirs, "generator=pipeline", f"generator.folder={unclip}")
    next((ours / "unet").glob("*.safetensors")).unlink()
    assert f"{ours} cannot be loaded" in generate.refuse(*theirs, "generator=ddpm", f"generator.folder={ours}")


def test_what_is_wrong_is_answered_in_one_line(generate: Cli) -> None:
    assert "out has no value" in generate.refuse()
    assert "did you mean generator.levels" in generate.refuse("levels=3", "out=out")
    assert "generator=dpm is no choice: did you mean ddpm" in generate.refuse("generator=dpm", "out=out")
    assert "count='many' is of the wrong type" in generate.refuse("count=many", "out=out")
    assert "limit=0" in generate.refuse("limit=0", "out=out")
    (generate.folder / "file").write_text("in the way")
    assert "cannot write out=file" in generate.refuse(*SMALL, "out=file")


def test_what_a_pipeline_cannot_do(generate: Cli, ddpm: Path) -> None:
    given = (*SMALL, "generator=ddpm", f"generator.folder={ddpm}", "out=out")
    assert "error: DDPMPipeline refuses this: " in generate(*given, "generator.steps=1001").err


@pytest.mark.slow
def test_a_process_that_is_killed_and_started_again(generate: Cli) -> None:
    given = (*SMALL, "count=1000", "batch_size=8")
    command = [sys.executable, "-m", generate.program.removesuffix(".__main__"), *given, "out=killed"]
    process = subprocess.Popen(command, cwd=generate.folder, stdout=subprocess.DEVNULL)
    killed = generate.folder / "killed"
    while not len([*killed.glob("*.parquet")]) >= 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    assert len([*killed.glob("*.parquet")]) < 1000 // 16
    assert made(generate, "killed", *given) == made(generate, "whole", *given)
