"""`python -m sslab.datamodules.generate`: make images, train what makes them, or find how much noise each bears."""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ..config.error_messages import one_line_errors
from ..config.signature import check_added
from ..core import run_folder as run
from ..core.errors import UserError


def main() -> None:
    """Leaves with status 2 and one line on input that cannot work."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with one_line_errors("generate"):
            hydra.main(version_base="1.3", config_path="pkg://sslab.conf", config_name="generate")(_launch)()
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")


@one_line_errors("generate")  # here too: Hydra would add words of its own to what leaves a job
def _launch(composed: DictConfig) -> None:
    from ..experiment.generate import generate, train  # torch comes with it: `--help` and a wrong name need not wait
    from ..experiment.noise_levels import measure

    config: run.Config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)  # pyright: ignore
    run.log_to(None)
    check_added(HydraConfig.get().overrides.task, config, "generate")
    if "train_generator" in config and "foreground" in config:
        raise UserError("train_generator and foreground are two tasks: choose one")
    (train if "train_generator" in config else measure if "foreground" in config else generate)(config)
