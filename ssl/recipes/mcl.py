"""Multistage contrastive learning: a recipe of several runs."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

from ...datamodules.loading.order import Shuffled
from ..core.draws import mix
from ..core.errors import UserError
from ..core.run_folder import Config
from ..experiment.build import build
from ..experiment.fit import measure
from ..model.concat import Concat
from ..model.weights import save_weights
from ..pretrained.of_run import trained_backbone
from .mcl_groups import regroup
from .subprocess_run import finish

OWN = ("stages", "clusters")  # keys of the config that a single run does not have


@dataclass(frozen=True)
class MCL:
    """Encoders f_0, f_1, … of which each is trained on what all before it take for alike (Zhang et al. 2024).

    When stage s is trained, spherical k-means of its features gives every training image a cluster a_s. In stage j
    every batch is of one group, the images that share a_0 … a_{j-1}, and nobody is contrasted with another group, not
    in a queue either; the encoder starts anew. The representation is r(x) = [f_0(x), f_1(x), …].

    Stage 0 is the base as it would run alone, except that all evaluation comes at the end. Beside the representation
    stands the control of equal size: in place of every later stage a base run, with the seed of that stage.

    Args:
        stages: number of encoders.
        clusters: of the features of one stage.
        iterations: of k-means.
        restarts: of k-means, of which the best is kept.
        normalise: whether every f(x) is brought to unit length before they are joined.
    """

    stages: int
    clusters: int
    iterations: int = 100
    restarts: int = 3
    normalise: bool = False

    def __post_init__(self) -> None:
        for name in ("stages", "clusters", "iterations", "restarts"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: expected 1 or more")

    def whole(self, base: Config) -> Config:
        """The config of the recipe's folder: the base's, but for the backbone, which joins those of all stages."""
        parts = [copy.deepcopy(base["backbone"]) for _ in range(self.stages)]
        joined = {
            "_target_": "sslab.ssl.model.Concat",
            "parts": parts,
            "normalise": self.normalise,
            "weights": None,
        }
        return base | {"backbone": joined}

    def check(self, config: Config) -> None:
        """Refuse what would not work, before anything is read or written."""
        data = build(single(config, 0)).datamodule
        rows, batch = len(data.trainable.row), data.batch_size
        if not isinstance(data.order, Shuffled):
            raise UserError("MCL decides which images meet in a batch: leave data.order out")
        if self.clusters > len(data.train_images):
            raise UserError(f"clusters={self.clusters}, but there are {len(data.train_images)} training images")
        if min(self.stages, self.clusters) > 1 and rows < 2 * batch:
            raise UserError(
                f"{rows} training images do not fill two groups of one batch of {batch}: set data.batch_size to "
                f"{rows // 2} or less"
            )

    def __call__(self, config: Config, folder: Path) -> None:
        """Do what has not been done yet."""
        kmeans = {"iterations": self.iterations, "restarts": self.restarts}
        for stage in range(self.stages):
            run = single(config, stage)
            if stage:
                run = grouped(run, regroup(run, folder, stage, self.clusters, **kmeans))
            finish(folder / f"stage-{stage}", run | {"eval": {}})
        for stage in range(1, self.stages):
            finish(folder / f"control-{stage}", single(config, stage) | {"eval": {}})
        self.report(config, folder)

    def report(self, config: Config, folder: Path) -> None:
        """Export the representation; set it beside the control, every stage alone and the base untrained."""
        experiment = build(single(config, 0))
        first, *stages = [trained_backbone(folder / f"stage-{s}") for s in range(self.stages)]
        controls = [trained_backbone(folder / f"control-{s}") for s in range(1, self.stages)]
        mcl, control = (Concat([first, *later], self.normalise) for later in (stages, controls))
        save_weights(mcl.trunk, folder / "backbone.safetensors", {"backbone": json.dumps(config["backbone"])})
        alone = {f"stage {s}": backbone for s, backbone in enumerate([first, *stages])}
        about = {"stages": self.stages, "clusters": self.clusters}
        measure(experiment, {"mcl": mcl, "control": control, **alone}, folder, experiment.training.device, **about)


def single(config: Config, stage: int) -> Config:
    """The base run with the seed of a stage, which for stage 0 is the user's."""
    base = {key: value for key, value in config.items() if key not in OWN}
    seed = mix(base["seed"], stage) if stage else base["seed"]
    return base | {"recipe": None, "seed": seed, "backbone": base["backbone"]["parts"][stage]}


def grouped(run: Config, file: Path) -> Config:
    """The same run on batches of one group each."""
    order = {"_target_": "sslab.datamodules.loading.Grouped", "file": str(file.resolve())}
    part = {"_target_": "sslab.ssl.latent.Groups", "file": str(file.resolve())}
    return run | {"data": run["data"] | {"order": order}, "latent": {"groups": part, **(run["latent"] or {})}}
