"""The device of this process, where no trainer chooses it."""

import os

import torch

from .errors import UserError


def own_device(accelerator: str) -> torch.device:
    """The GPU that is for this process, where there is one and `accelerator` is not `cpu`."""
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(f"accelerator={accelerator}, but there is no GPU: set auto or cpu")
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
