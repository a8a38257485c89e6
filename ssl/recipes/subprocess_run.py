"""A run in a process of its own, which ends when the process that started it does."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from ..core import run_folder as run
from ..core.errors import UserError

LEASH = "SSLAB_LEASH"  # set where the standard input is a pipe that the process which started this one holds open


def finish(folder: Path, config: run.Config) -> None:
    """Train a run from where it is to its end, if it is not there yet: the last thing it leaves is its backbone."""
    if (folder / "backbone.safetensors").exists():
        return
    if not (folder / "config.yaml").exists():
        shutil.rmtree(folder, ignore_errors=True)  # nothing but the beginning of a folder
        run.create(folder, config)
    command = [sys.executable, "-m", "sslab.ssl.commands.train", f"resume='{folder}'"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {LEASH: "stdin"}) as process:
        status = process.wait()
    if status:
        raise UserError(f"{folder.name} ended with status {status}; to go on: python train.py resume={folder.parent}")


def heed_leash() -> None:
    """End this process, at whatever it is, when the one that started it lets go; killed, it could not say so."""

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # nothing is ever written: it returns when the pipe closes
        os._exit(1)

    if LEASH in os.environ:
        threading.Thread(target=watch, daemon=True).start()
