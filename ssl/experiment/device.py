"""The device of this process and its fellows, where no trainer chooses them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from ..core.errors import UserError


def own_device(accelerator: str) -> torch.device:
    """The GPU that is for this process, where there is one and `accelerator` is not `cpu`."""
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(f"accelerator={accelerator}, but there is no GPU: set auto or cpu")
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


@contextmanager
def joined_processes() -> Iterator[None]:
    """The processes that torchrun has started, to share the images among them."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
