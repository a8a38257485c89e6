"""Make images by a generator, or train one."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from tqdm import tqdm

from ...datamodules.generate.maker import Maker
from ...datamodules.generate.request import Generator
from ...datamodules.generate.shard_files import Parts
from ...datamodules.reading.bad_files import BadFiles
from ..config.make import make
from ..config.signature import check
from ..core import run_folder as run
from ..core.draws import mix
from ..core.errors import UserError
from .device import own_device
from .progress import Progress

LEARNED = ("seed", "data", "trainer", "train_generator")  # what decides the weights of a generator


def generate(config: run.Config) -> None:
    """Make those images of a set that are this process's to make and are not there yet."""
    check(config)
    training = make(config["trainer"])
    training.check()
    generator = make(config["generator"], device=own_device(training.accelerator), precision=training.mixed)
    originals = make(config["data"]["source"]).train
    parts = make(config["parts"], count=len(originals))
    _claim(parts.folder, _settings(config, generator, parts))
    bad = BadFiles(len(originals), config["data"]["max_bad"], parts.folder)
    made = _fill(parts, Maker(generator, originals, config["seed"], config["batch_size"], bad))
    print(f"made {made} images in {parts.folder}")


def _settings(config: run.Config, generator: Generator, parts: Parts) -> run.Config:
    """All that decides the images but the versions of libraries, and the processor."""
    settings = {"seed": config["seed"], "batch_size": config["batch_size"], "part": parts.size, **generator.settings}
    if generator.levels is not None:
        settings |= {"levels": generator.levels.name, "originals": config["data"]["source"]}
    return settings


def _claim(folder: Path, settings: run.Config) -> None:
    """Write the settings beside the images, or refuse others than are there."""
    file = folder / "manifest.json"
    if file.exists():
        saved = json.loads(file.read_text())["settings"]
        run.refuse_change(saved, settings, f"out={folder} holds images that were made otherwise", "set another out")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps({"settings": settings, "environment": run.environment()}, indent=2))
        os.replace(draft, file)
    except OSError as error:
        raise UserError(f"cannot write out={folder} ({error.strerror}): set out=<a folder>") from None


def _fill(parts: Parts, maker: Maker) -> int:
    """The number of images that were made."""
    missing = parts.missing()
    total = sum(map(len, missing))
    with tqdm(total=total, unit=" images", disable=parts.shard > 0 or not Progress.visible()) as bar:
        for part in missing:
            rows: list[dict[str, Any]] = []
            for batch in maker(part):
                rows += batch
                bar.update(len(batch))
            parts.write(part, rows)
    return total


def train(config: run.Config) -> None:
    """Train a generator, or go on with it, and save it as a pipeline."""
    check(config)
    training = make(config["trainer"])
    training.check()
    if training.cached_batch is not None:
        raise UserError(
            "trainer.cached_batch is for train.py, but generators are trained by whole batches: set it to null"
        )
    out, learned = Path(config["out"]).expanduser(), {key: config[key] for key in LEARNED}
    generator = make(config["train_generator"], seed=mix(config["seed"], 1))
    generator.config = learned
    data = make(config["data"], views=generator.view, seed=config["seed"], accumulate=training.accumulate)
    folder, steps = out / "training", training.steps(data.batches_per_epoch // training.accumulate)
    trainer = training.trainer(folder, steps, [], [])
    checkpoint = _begun(folder, learned, trainer)
    trainer.fit(generator, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    if trainer.is_global_zero:
        generator.save(out)
        print(f"trained a generator; to use it: generator=ddim generator.folder={out}")


def _begun(folder: Path, config: run.Config, trainer: pl.Trainer) -> Path | None:
    """The last checkpoint in the folder, if it was begun before, and with this config."""
    if (folder / "config.yaml").exists():
        there = f"{folder.parent} holds a generator that was trained otherwise"
        run.refuse_change(run.read(folder), config, there, "set another out")
    elif trainer.is_global_zero:
        run.create(folder, config)
    run.log_to(*((folder, logging.INFO) if trainer.is_global_zero else (None, logging.WARNING)))
    checkpoint = run.last_checkpoint(folder, config)
    if checkpoint is not None:
        step = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]
        trainer.loggers[0].resume(step)  # pyright: ignore[reportAttributeAccessIssue]
    return checkpoint
