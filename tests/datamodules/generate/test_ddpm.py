"""A generator of the user's own images: trained, continued, used."""

import shutil
from pathlib import Path

import pytest
import torch
from cli import Cli
from diffusers import DDPMPipeline
from PIL import Image
from sslab.datamodules.generate.ddpm import DDPM
from sslab.datamodules.sources.parquet import Parquet
from sslab.datamodules.views.plain import Plain
from sslab.ssl.core.errors import UserError

NET = ("train_generator=ddpm", "train_generator.channels=[8,16]", "trainer=cpu", "trainer.log_every=1")
SMALL = (*NET, "data.source.train=64", "data.source.test=1", "data.size=8", "data.batch_size=8", "trainer.max_steps=8")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return DDPMPipeline.from_pretrained(folder, low_cpu_mem_usage=False).unet.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def trained(generate: Cli, out: str, *arguments: str) -> Path:
    result = generate(*arguments, f"out={out}")
    assert result.code == 0, result.err
    return generate.folder / out


def test_continued_from_a_checkpoint_it_is_the_same_and_only_the_seed_makes_another(generate: Cli) -> None:
    given = (*SMALL, "trainer.checkpoint_every=3", "trainer.keep_every=3")
    folder = trained(generate, "whole", *given)
    whole = weights(folder)
    checkpoints = folder / "training" / "checkpoints"
    shutil.copy(checkpoints / "step-000003.ckpt", checkpoints / "last.ckpt")
    shutil.rmtree(folder / "unet")
    (folder / "model_index.json").unlink()
    assert equal(weights(trained(generate, "whole", *given)), whole)
    assert equal(weights(trained(generate, "again", *given)), whole)
    assert not equal(weights(trained(generate, "other", *given, "seed=1")), whole)


def test_another_training_is_refused(generate: Cli) -> None:
    trained(generate, "out", *SMALL, "trainer.max_steps=1")
    result = generate(*SMALL, "trainer.max_steps=1", "train_generator.rate=1.0", "out=out")
    assert result.code == 2
    assert "out holds a generator that was trained otherwise; set another out" in result.err
    assert "train_generator.rate: 0.003 → 1.0" in result.err


def test_weights_that_are_not_numbers_are_not_kept(generate: Cli) -> None:
    given = (*SMALL, "trainer.checkpoint_every=1", "train_generator.rate=1e30", "trainer.clip=null", "out=out")
    result = generate(*given)
    assert result.code == 2, result.err
    assert "the generator has diverged" in result.err
    assert not (generate.folder / "out" / "model_index.json").exists()


def test_labels_are_never_read(generate: Cli) -> None:
    for number in range(16):
        file = generate.folder / "images" / f"class{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((12, 10 + number), 50).save(file)
    given = (*NET, "data=folder", "data.root=images", "data.size=8", "data.batch_size=4", "data.test_fraction=0.0")
    with_labels, without = (
        weights(trained(generate, labels, *given, "trainer.max_steps=2", f"data.labels={labels}", "data.workers=0"))
        for labels in ("folders", "none")
    )
    assert equal(with_labels, without)


@pytest.mark.slow
def test_it_makes_images_like_those_it_learned(generate: Cli) -> None:
    """Of two colours, and both of them."""
    colours = torch.tensor([[220, 40, 40], [40, 60, 220]])
    images = generate.folder / "images"
    images.mkdir()
    for number in range(32):
        Image.new("RGB", (8, 8), tuple(colours[number % 2].tolist())).save(images / f"{number:02}.png")
    quick = ("train_generator.rate=1e-2", "train_generator.decay=0.9", "trainer.max_steps=120")
    given = (*NET, "train_generator.channels=[16,16]", "data=folder", "data.root=images", "data.size=8")
    trained(generate, "model", *given, *quick, "data.batch_size=32")
    sampled = ("generator=ddim", "generator.folder=model", "generator.steps=20", "count=16", "trainer=cpu")
    assert generate(*sampled, "out=samples").code == 0
    made = Parquet(str(generate.folder / "samples" / "*.parquet")).train
    stack = torch.stack([made.read(number) for number in range(16)]).float()
    distance, nearest = (stack[:, None] - colours[:, :, None, None]).abs().mean((2, 3, 4)).min(1)
    assert distance.median() < 25, distance
    assert {*nearest.tolist()} == {0, 1}


def test_sizes_that_do_not_halve() -> None:
    view = Plain(10, [0.5] * 3, [0.5] * 3)
    with pytest.raises(UserError, match="a size that 4 divides"):
        DDPM(view, [8, 16, 32])
    with pytest.raises(UserError, match="expected multiples of 8"):
        DDPM(view, [8, 12])
