"""Runs a test's function on gloo processes, to compare what ranks compute with what one process does."""

import inspect
import runpy
from collections.abc import Callable
from multiprocessing import set_forkserver_preload
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

PRELOAD = ["torch", "hydra", "hypothesis", "pytest"]  # imported once, not by every process


def outcomes(task: Callable[[], Any], worlds: tuple[int, ...], folder: Path) -> dict[int, list[Any]]:
    """What `task()` returns on every rank of every world, by size; one set of processes serves all worlds."""
    arguments = (inspect.getfile(task), task.__name__, worlds, folder)
    set_forkserver_preload(PRELOAD)
    start_processes(_member, arguments, nprocs=max(worlds), start_method="forkserver")
    return {world: [torch.load(folder / f"{world}-{rank}.pt") for rank in range(world)] for world in worlds}


def _member(rank: int, file: str, name: str, worlds: tuple[int, ...], folder: Path) -> None:
    torch.set_num_threads(1)
    task = runpy.run_path(file)[name]  # by path: test modules have no name to import them by
    for world in worlds:
        if rank < world:
            dist.init_process_group("gloo", f"file://{folder}/{world}", rank=rank, world_size=world)
            torch.save(task(), folder / f"{world}-{rank}.pt")
            dist.destroy_process_group()
