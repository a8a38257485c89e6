"""Evaluate a backbone that is there already."""

import logging
import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import nn

from ...eval.features.extract import Pixels
from ..config.make import make
from ..config.signature import check
from ..core.errors import UserError
from ..core.run_folder import Config, commit
from ..pretrained.open import Checkpoint, open_checkpoint, plain_view
from .device import joined_processes, own_device

OF_TRAINING = ("order", "holdout", "generated", "copies", "partners")  # of data, which evaluation does without
log = logging.getLogger(__name__)


def evaluate(config: Config) -> list[dict[str, Any]]:
    """The rows of results, which are also written to a folder."""
    check(config["evaluation"], "evaluation")
    device = own_device(config["accelerator"])
    evaluation = make(config["evaluation"])
    opened = open_checkpoint(config["checkpoint"], config["weights"])
    backbones = {"trained": opened.backbone, **{name: _baseline(name, opened) for name in config["baselines"]}}
    view = plain_view(opened, config["checkpoint"], config["view"])
    node = _data(config, opened)
    with joined_processes():
        check(node, "data")
        data = make(node, seed=config["seed"], accumulate=1)
        data.setup("test")
        folder = _folder(config, opened, node["name"])
        test = data.test_images
        meta = {
            "checkpoint": config["checkpoint"],
            "data": node["name"],
            "test": test and test.fingerprint()[:16],
            "commit": commit(),
        }
        placed = {name: backbone.to(device) for name, backbone in backbones.items()}
        rows = evaluation(placed, data.real_images, test, view, device, folder, meta)
    log.info("results are in %s", folder)
    return rows


def _baseline(name: str, opened: Checkpoint) -> nn.Module:
    match name:
        case "pixels":
            return Pixels()
        case "untrained":
            return opened.untrained()
    raise UserError(f"baselines=[{name}] is none: there are untrained and pixels")


def _data(config: Config, opened: Checkpoint) -> Config:
    """The data that are asked for; else those that the backbone was trained on, perhaps with other settings."""
    asked: Config = config.get("data") or {}
    if "_target_" not in asked and "data" not in opened.config:
        raise UserError(f"{config['checkpoint']} was trained on nobody knows what: set data=<a choice>")
    if "_target_" not in asked:
        asked = OmegaConf.to_container(OmegaConf.merge(opened.config["data"], asked))  # pyright: ignore
    return {key: value for key, value in asked.items() if key not in OF_TRAINING} | {"batch_size": 1}


def _folder(config: Config, opened: Checkpoint, data: str) -> Path:
    """Return the folder of the results: in the run's folder, if the checkpoint is of a run."""
    if config["out"] is not None:
        return Path(config["out"]).expanduser()
    place, file = opened.folder, Path(config["checkpoint"])
    if place is None:
        within = Path("evals") / _plain(config["checkpoint"])
    elif file.suffix == ".ckpt" and file.stem != "last":
        within = place / "eval" / file.stem
    else:
        within = place / "eval"
    return within / f"{data}-{_plain(config['name'] or '-'.join(config['protocols']))}"


def _plain(name: str) -> str:
    """Fit for the name of a folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")
