"""The common part of the benches: experiments as `train.py` composes them, and a clock."""

import logging
import time

import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from sslab.ssl.core.run_folder import log_to
from sslab.ssl.experiment.build import Experiment, build


def experiment(*choices: str) -> Experiment:
    log_to(None, logging.WARNING)
    with initialize_config_module("sslab.conf", version_base="1.3"):
        composed = compose("config", [*choices], return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    with open_dict(composed):
        del composed["hydra"]
    return build(OmegaConf.to_container(composed, resolve=True))  # pyright: ignore[reportArgumentType]


def now(device: torch.device) -> float:
    """Return seconds, after all that the device has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
