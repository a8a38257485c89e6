"""`python -m sslab.eval`: evaluate a backbone, or read evaluations side by side; `--help` names the choices."""

import logging
import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ..config.error_messages import one_line_errors
from ..config.signature import check_added
from ..core import run_folder as run


def main() -> None:
    """Leaves with status 2 and one line on input that cannot work."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with one_line_errors("evaluate"):
        if sys.argv[1:2] in (["compare"], ["seeds"]):
            _read(sys.argv[1], [Path(folder) for folder in sys.argv[2:]])
        else:
            hydra.main(version_base="1.3", config_path="pkg://sslab.conf", config_name="evaluate")(_launch)()


def _read(how: str, folders: list[Path]) -> None:
    from ...eval.reports.compare import compare
    from ...eval.reports.seeds import seeds

    print({"compare": compare, "seeds": seeds}[how](folders))


@one_line_errors("evaluate")  # here too: Hydra would add words of its own to what leaves a job
def _launch(composed: DictConfig) -> None:
    from ..experiment.evaluate import evaluate  # torch comes with it: `--help` and a wrong name need not wait

    config: run.Config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)  # pyright: ignore
    run.log_to(None, logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    check_added(HydraConfig.get().overrides.task, config, "evaluate")
    evaluate(config)
