"""From the command line to the table of noise levels."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from cli import Cli
from foregrounds import MEAN, STD, encoder
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image
from ranks import outcomes
from sslab.datamodules.generate.levels import Levels
from sslab.datamodules.shapes.shapes import Shapes
from sslab.ssl.core.distributed import agreed, barrier
from sslab.ssl.core.draws import mix, permutation
from sslab.ssl.experiment.noise_levels import histogram, measure
from sslab.ssl.pretrained.foreground import Foreground, noise_level, scores


@pytest.fixture
def given(generate: Cli) -> tuple[str, ...]:
    return settings(encoder(generate.folder).settings["weights"])


def settings(weights: str) -> tuple[str, ...]:
    chosen = ("name=resnet_tiny", "size=32", f"weights={weights}", f"mean={MEAN}", f"std={STD}")
    data = ("data.source.train=40", "data.source.test=1", "batch_size=16", "trainer=cpu", "trainer.precision=32-true")
    return ("foreground=pca", *(f"foreground.encoder.{text}" for text in chosen), "foreground.images=24", *data)


def table(folder: Path) -> dict[str, list[Any]]:
    return pq.read_table(folder / "levels.parquet").to_pydict()


def test_every_image_gets_the_level_of_its_foreground(generate: Cli, given: tuple[str, ...]) -> None:
    shown = generate(*given, "out=levels")
    assert shown.code == 0, shown.err
    rows = table(generate.folder / "levels")
    assert rows["row"] == [*range(40)]
    found = Foreground.load(str(generate.folder / "levels"))
    count = torch.tensor(rows["foreground"]).mul(16).round().long()
    assert rows["noise_level"] == noise_level(count, 16).tolist()
    images = torch.stack([Shapes(train=40, test=1, size=32).train.read(row) for row in range(40)])
    mean, std = torch.tensor([MEAN, STD])[..., None, None]
    maps = found.encoder((images / 255 - mean) / std)
    assert (found.inside(maps) - count).abs().max() <= 1  # a score beside the threshold may fall on either side
    chosen = permutation(mix(0, 0), 40)[:24]
    share = (scores(maps[chosen], found.direction) > found.threshold).double().mean().item()
    assert share == pytest.approx(0.4, abs=0.01)
    assert [int(line.split()[1]) for line in shown.out.splitlines()[:5]] == [
        rows["noise_level"].count(level) for level in range(0, 500, 100)
    ]
    levels = Levels(str(generate.folder / "levels" / "levels.parquet"))
    assert [levels[row] for row in range(40)] == rows["noise_level"]
    assert json.dumps(found.encoder.settings)


def test_the_same_seed_writes_the_same_files_and_variations_heed_them(generate: Cli, given: tuple[str, ...]) -> None:
    for out in ("a", "b"):
        assert generate(*given, f"out={out}").code == 0
    names = {"levels.parquet", "foreground.safetensors"}
    assert {file.name for file in (generate.folder / "a").iterdir()} == names
    for name in names:
        assert (generate.folder / "a" / name).read_bytes() == (generate.folder / "b" / name).read_bytes()
    assert generate(*given, "out=c", "seed=1").code == 0
    assert table(generate.folder / "c") != table(generate.folder / "a")
    few = ("data.source.train=40", "data.source.test=1", "batch_size=16", "trainer=cpu")
    assert generate(*few, "generator.levels=a/levels.parquet", "out=images").code == 0
    made = [row for file in (generate.folder / "images").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    assert {row["row"]: row["noise_level"] for row in made} == dict(
        enumerate(table(generate.folder / "a")["noise_level"])
    )
    assert "out=images holds generated images" in generate(*given, "out=images").err


def shared() -> dict[str, Any]:
    """What the processes that take part have written together."""
    with tempfile.TemporaryDirectory() as own:
        folder = Path(agreed(own))
        weights = encoder(Path(own)).settings["weights"]
        with initialize_config_module("sslab.conf", version_base="1.3"):
            config: Any = OmegaConf.to_container(
                compose("generate", [*settings(weights), f"out={folder}", "batch_size=7"]), resolve=True
            )
        measure(config)
        barrier()
        direction, threshold, _ = Foreground.load(str(folder), weights)
        found = {**table(folder), "direction": direction, "threshold": threshold}
        barrier()
        return found


def test_several_processes_find_what_one_does(tmp_path: Path) -> None:
    alone = shared()
    for found in outcomes(shared, (3,), tmp_path)[3]:
        torch.testing.assert_close(found["direction"], alone["direction"])
        assert found["threshold"] == pytest.approx(alone["threshold"], abs=1e-5)
        assert found["row"] == alone["row"]
        difference = torch.tensor(found["foreground"]) - torch.tensor(alone["foreground"])
        assert difference.abs().max() <= 1 / 16  # a score beside the threshold may fall on either side
        assert (difference != 0).sum() <= 1


def test_images_that_cannot_be_read_bear_no_noise(generate: Cli, given: tuple[str, ...]) -> None:
    (generate.folder / "images").mkdir()
    for number in range(10):
        Image.effect_noise((40 + number, 33), 50).save(generate.folder / "images" / f"{number}.png")
    (generate.folder / "images" / "3.png").write_bytes(b"no image")
    ours = [text for text in given if not text.startswith("data.")]
    folder = (*ours, "data=folder", "data.root=images", "out=levels")
    assert "1 of 10 images cannot be read" in generate(*folder).err
    assert generate(*folder, "data.max_bad=0.2").code == 0
    rows = table(generate.folder / "levels")
    assert [row for row, ratio in zip(rows["row"], rows["foreground"], strict=True) if ratio is None] == [3]
    assert rows["noise_level"][3] == 0
    assert "3.png" in (generate.folder / "levels" / "bad_files.txt").read_text()


def test_what_is_wrong_is_answered_in_one_line(generate: Cli, given: tuple[str, ...]) -> None:
    line = generate.refuse("foreground=pca", "trainer=cpu", "out=out")
    assert "encoder vit_huge_patch14_clip_224.laion2b has no weights: put them on this machine" in line
    assert "nothing is downloaded" in line
    assert "nowhere does not exist" in generate.refuse(*given, "foreground.encoder.weights=nowhere", "out=out")
    assert "two tasks" in generate.refuse(*given, "train_generator=ddpm", "out=out")
    assert "share=2.0: expected 1 or more, and between 0 and 1" in generate.refuse(
        *given, "foreground.share=2.0", "out=out"
    )
    (generate.folder / "file").write_text("in the way")
    assert "cannot write out=file" in generate.refuse(*given, "out=file")


def test_a_histogram_has_a_line_for_each_level() -> None:
    lines = histogram(torch.tensor([0, 0, 100, 400, 400, 400, 400]))
    assert [line.split()[:2] for line in lines] == [["0", "2"], ["100", "1"], ["200", "0"], ["300", "0"], ["400", "4"]]
    assert [line.count("█") for line in lines] == [20, 10, 0, 0, 40]
