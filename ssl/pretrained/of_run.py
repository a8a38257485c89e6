"""The backbone of a run's config: as it was before training, and as the run has left it."""

from pathlib import Path
from typing import Any

from ..config.make import make
from ..core.draws import mix
from ..core.run_folder import Config, read


def make_backbone(config: Config) -> Any:
    """The backbone as it is before training: the same weights for the same seed, whatever the other parts are."""
    return make(config["backbone"], seed=mix(config["seed"], 1))


def trained_backbone(folder: Path) -> Any:
    """The backbone that a run has left in its folder."""
    return make(read(folder)["backbone"] | {"weights": str(folder)})
