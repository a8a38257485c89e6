"""The command line: compose → fit → evaluate, with one clear line for what a user can mend."""

import logging
import os
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ..config.error_messages import one_line_errors
from ..config.signature import check_added
from ..core import run_folder as run
from ..core.errors import UserError
from ..recipes.subprocess_run import heed_leash

FOLDER, CHECKPOINT = "SSLAB_RUN_FOLDER", "SSLAB_CHECKPOINT"  # how the other ranks of this machine learn their run
WHOLE = {"experiment", "base"}  # choices that are no part of the config but all of it


def main() -> None:
    """Run `python train.py …`; leave with status 2 and one line on input that cannot work."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    heed_leash()
    with one_line_errors():
        if FOLDER in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":
            _join(Path(os.environ[FOLDER]))
        else:
            hydra.main(version_base="1.3", config_path="pkg://sslab.conf", config_name="config")(_launch)()


@one_line_errors()  # here too: Hydra would add words of its own to what leaves a job
def _launch(composed: DictConfig) -> None:
    config: run.Config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)  # pyright: ignore
    run.log_to(None)
    check_added(HydraConfig.get().overrides.task, config, "config")
    if config["preview"]:
        config["recipe"] = None  # its views are those of its runs
    if config["recipe"]:
        config = _recipe(config).whole(config)
    folder = Path(config["resume"]) if config["resume"] else None
    if folder:
        config = _resumed(folder, config)
    if config.get("recipe"):
        _follow(config, folder)
    else:
        _train(config, folder, run.last_checkpoint(folder, config) if folder else None)


def _resumed(folder: Path, asked: run.Config) -> run.Config:
    """The config of the folder, unless the command line asks for another."""
    saved = run.read(folder)
    given = {override.split("=")[0].lstrip("+~").split("@")[0] for override in _overrides()}
    wanted = OmegaConf.create(asked if WHOLE & given else saved)
    for path in given - WHOLE:
        OmegaConf.update(wanted, path, OmegaConf.select(OmegaConf.create(asked), path), merge=False)
    run.refuse_change(
        saved, cast(run.Config, OmegaConf.to_container(wanted)), f"resume={folder} continues a run as it was configured"
    )
    return saved


def _recipe(config: run.Config) -> Any:
    """Return the object that makes one result of several runs."""
    from ..config.make import make
    from ..config.signature import check

    check(config["recipe"], "recipe")
    return make(config["recipe"])


def _follow(config: run.Config, folder: Path | None) -> None:
    """Begin a recipe, or go on with what it has not done yet."""
    if max(int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "SLURM_NTASKS")) > 1:
        raise UserError("a recipe starts its runs itself: start one process of it, with trainer=ddp for several GPUs")
    recipe = _recipe(config)
    recipe.check(config)
    if folder is None:
        folder = _new_folder(config)
        run.create(folder, config)
    run.log_to(folder)
    logging.getLogger(__name__).info("run folder %s", folder)
    recipe(config, folder)


def _train(config: run.Config, folder: Path | None, checkpoint: Path | None) -> None:
    from ..experiment.build import build  # torch comes with it: `--help` and a wrong name need not wait

    experiment, first = build(config), _first()
    if folder is None:
        folder = _new_folder(config)
        if first:
            run.create(folder, config)
    run.log_to(folder if first else None, logging.INFO if first else logging.WARNING)
    os.environ[FOLDER], os.environ[CHECKPOINT] = str(folder.resolve()), str(checkpoint or "")
    try:
        _execute(experiment, folder, checkpoint)
    finally:
        del os.environ[FOLDER], os.environ[CHECKPOINT]


def _execute(experiment: Any, folder: Path, checkpoint: Path | None) -> None:
    from ..experiment.fit import evaluate, fit, preview

    if experiment.config["preview"]:
        preview(experiment, folder)
        return
    logging.getLogger(__name__).info("run folder %s", folder)
    device = fit(experiment, folder, checkpoint)
    if device is not None:
        evaluate(experiment, folder, device)


def _join(folder: Path) -> None:
    """Another rank of a run that the first rank of this machine has set up."""
    from ..experiment.build import build
    from ..experiment.fit import fit

    run.log_to(None, logging.WARNING)
    fit(build(run.read(folder)), folder, Path(os.environ[CHECKPOINT]) if os.environ[CHECKPOINT] else None)


def _first() -> bool:
    """Tell whether this is the one process that writes, as far as torchrun or SLURM have said."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def _new_folder(config: run.Config) -> Path:
    """runs/<date>/<time>_<name>, or a numbered folder of the sweep."""
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        return Path(hydra_config.sweep.dir) / f"{hydra_config.job.num}_{config['name']}"
    now = datetime.now()
    folder = Path(config["runs"]) / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S}_{config['name']}"
    alike = len(list(folder.parent.glob(f"{folder.name}*"))) if folder.parent.is_dir() else 0
    return folder.with_name(f"{folder.name}_{alike + 1}") if alike else folder


def _overrides() -> list[str]:
    return [o for o in HydraConfig.get().overrides.task if o.split("=")[0] not in run.INCIDENTAL]


if __name__ == "__main__":
    main()
