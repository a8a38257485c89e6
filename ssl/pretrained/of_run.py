"""The backbone of a run's config: as it was before training, and with weights that a run has left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.make import make
from ..core.contracts import Backbone, fulfil
from ..core.draws import mix
from ..core.run_folder import Config, read
from ..model.weights import load_weights


def make_backbone(config: Config) -> Any:
    """Return the backbone before training: the same weights for the same seed, whatever the other parts are."""
    return _fulfilled(make(config["backbone"], seed=mix(config["seed"], 1)))


def trained_backbone(folder: Path) -> Any:
    """Return the backbone that a run has left in its folder."""
    return loaded_backbone(read(folder)["backbone"], folder)


def loaded_backbone(node: Mapping[str, Any], place: Path) -> Any:
    """Return a backbone with the weights of a run's folder, checkpoint or export, whatever it had begun with."""
    backbone = _fulfilled(make({key: value for key, value in node.items() if key != "weights"}))
    load_weights(backbone.trunk, place)
    return backbone


def _fulfilled(backbone: Any) -> Any:
    fulfil(backbone, Backbone, "backbone")
    backbone.dense_dim = backbone.dim if backbone.dense_dim is None else backbone.dense_dim
    return backbone
