"""A backbone that is there already: of a run, of a file, or of timm; and how it sees images."""

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import timm
from safetensors import SafetensorError, safe_open
from torch import nn

from ...datamodules.views.plain import Plain
from ..config.make import make
from ..core import contracts
from ..core.contracts import fulfil
from ..core.errors import UserError
from ..core.run_folder import Config, load, read
from ..model.backbones import Backbone
from ..model.layers import Layered
from ..model.weights import WITHIN, load_weights
from .of_run import loaded_backbone, make_backbone, trained_backbone

TIMM = "timm:"
HEAD = "encoder.head."  # where a checkpoint of a run keeps it


class Checkpoint(NamedTuple):
    """A backbone, and what an evaluation needs to know of it."""

    backbone: Layered
    view: dict[str, Any]  # arguments of the plain view of images that it was made for, as far as they are known
    config: Config  # of the run that trained it; {}: none
    folder: Path | None  # of that run

    def untrained(self) -> nn.Module:
        """The same backbone before training."""
        if "backbone" not in self.config or "seed" not in self.config:
            raise UserError("baselines=[untrained] needs a checkpoint of a run, which says how it began")
        return Layered(make_backbone(self.config))


class Seer(NamedTuple):
    """A backbone, and the plain view by which it sees images."""

    name: str
    backbone: Layered
    view: Plain


def seer(place: str, weights: str | None = None, view: Mapping[str, Any] | None = None) -> Seer:
    """Return the backbone at `place`, to be shown images as it was made for, unless `view` says otherwise."""
    opened = open_checkpoint(place, weights)
    return Seer(place, opened.backbone, plain_view(opened, place, view or {}))


def plain_view(opened: Checkpoint, place: str, asked: Mapping[str, Any]) -> Plain:
    """Return the view that the backbone was made for, unless something else is asked for."""
    seen = opened.view | {key: value for key, value in asked.items() if value is not None}
    missing = [f"view.{key}" for key in ("size", "mean", "std") if key not in seen]
    if missing:
        raise UserError(f"{place} does not say how its images are scaled: set its {', '.join(missing)}")
    backbone: Any = opened.backbone.backbone
    backbone.check(seen["size"], seen["size"])
    return Plain(**seen)


def open_checkpoint(place: str, weights: str | None = None) -> Checkpoint:
    """Open a run folder, a file of a run, or `timm:NAME`, of which `weights` is a file or `random`."""
    if place.startswith(TIMM):
        return _timm(place.removeprefix(TIMM), weights)
    if weights is not None:
        raise UserError(f"weights={weights} are for a model of timm: set checkpoint={TIMM}<name>, or leave them out")
    path = Path(place).expanduser()
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise UserError(f"checkpoint={place} does not exist: give a run folder, a file that a run wrote or timm:<name>")
    return _exported(path) if path.suffix == ".safetensors" else _saved(path)


def _timm(name: str, weights: str | None) -> Checkpoint:
    described = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    size = described.input_size[-1] if described else 224
    backbone = Backbone(name, size)
    if weights is None:
        backbone.trunk.load_state_dict(_published(name).state_dict())
    elif weights != "random":
        load_weights(backbone.trunk, Path(weights).expanduser())
    return Checkpoint(Layered(backbone), {"size": size} | (_seen(described) if described else {}), {}, None)


def _seen(described: Any) -> dict[str, Any]:
    """Return how timm shows images to a model."""
    interpolation = described.interpolation if described.interpolation in ("bilinear", "bicubic") else "bicubic"
    normalised = {"mean": [*described.mean], "std": [*described.std]}
    return {**normalised, "crop": described.crop_pct, "interpolation": interpolation}


def _published(name: str) -> nn.Module:
    """Return the model with the weights that timm has for it, from this machine or the network."""
    try:
        return timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # every library between timm and the network has errors of its own
        reason = shorten(str(error).splitlines()[0], 150, placeholder=" …")
        raise UserError(
            f"timm's weights of {name} cannot be had ({reason}): set weights=<a safetensors file>, or weights=random"
        ) from None


def _folder(folder: Path) -> Checkpoint:
    if not (folder / "config.yaml").is_file():
        raise UserError(f"checkpoint={folder} is no run folder: it has no config.yaml")
    if not (folder / "backbone.safetensors").is_file():
        raise UserError(f"{folder} has no backbone yet: finish the run by python train.py resume={folder}")
    config, file = read(folder), folder / "checkpoints" / "last.ckpt"
    backbone = trained_backbone(folder)
    head = _head(config, backbone, load(file)["state_dict"]) if file.exists() else None
    return Checkpoint(Layered(backbone, head), _view(config), config, folder)


def _saved(file: Path) -> Checkpoint:
    """A checkpoint that training wrote."""
    content = load(file)
    config, state = content.get("config"), content.get("state_dict", {})
    if not isinstance(config, dict) or not any(name.startswith(WITHIN) for name in state):
        raise UserError(
            f"{file} is no checkpoint of a run of sslab; for weights of a timm model: checkpoint=timm:<name> "
            f"weights={file}"
        )
    backbone = loaded_backbone(config["backbone"], file)
    run = file.resolve().parents[1]
    head = _head(config, backbone, state)
    return Checkpoint(Layered(backbone, head), _view(config), config, run if (run / "config.yaml").exists() else None)


def _exported(file: Path) -> Checkpoint:
    """Weights that a run has exported, which say of what backbone they are."""
    try:
        with safe_open(file, "pt") as opened:
            about: Mapping[str, str] = opened.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{file} is no safetensors file: {error}") from None
    if "backbone" not in about:
        raise UserError(
            f"{file} does not say of what model it is; of timm's: checkpoint=timm:<name> weights={file}; of a run of "
            "sslab: checkpoint=<its folder>"
        )
    backbone = loaded_backbone(json.loads(about["backbone"]), file)
    folder = file.parent if (file.parent / "config.yaml").exists() else None
    config = read(folder) if folder else {}
    view = json.loads(about["view"]) if "view" in about else _view(config)
    return Checkpoint(Layered(backbone), view, config, folder)


def _view(config: Config) -> dict[str, Any]:
    view = config.get("plain_view", {})
    return {key: value for key, value in view.items() if key != "_target_"}


def _head(config: Config, backbone: Any, state: Mapping[str, Any]) -> nn.Module:
    """Return the head as it was trained."""
    facts = {"rows": 1, "classes": 0, "batch_size": 1}  # what no weight depends on
    head = fulfil(
        make(config["head"], seed=0, in_dim=backbone.dim, dense_dim=backbone.dense_dim, **facts), contracts.Head, "head"
    )
    head.load_state_dict({k.removeprefix(HEAD): v for k, v in state.items() if k.startswith(HEAD)})
    return head
