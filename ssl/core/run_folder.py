"""The run folder: config, environment, log, metrics, checkpoints, results of one run."""

import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError

Config = dict[str, Any]  # resolved, plain containers
INCIDENTAL = ("name", "runs", "resume", "preview", "debug")  # keys that do not change what is computed
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "timm", "hydra-core", "numpy")
NOISE = (  # warnings that no user can act on
    "`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning 2.6 on torch 2.15
    "Found .* module.s. in eval mode at the start of training",  # a teacher is
    "The number of training batches .* is smaller than the logging interval",  # log_every counts steps, not epochs
    "Checkpoint directory .* exists and is not empty",  # a resumed run's
)
log = logging.getLogger(__name__)


def identity(config: Config) -> str:
    """Return a hash of what the run computes: two runs of one identity are the same run."""
    essential = {k: v for k, v in config.items() if k not in INCIDENTAL}
    return hashlib.sha256(json.dumps(essential, sort_keys=True).encode()).hexdigest()[:16]


def create(folder: Path, config: Config) -> None:
    """Write what a run needs to be repeated; the config last, so that a folder with a config is complete."""
    try:
        folder.mkdir(parents=True)
        (folder / "environment.json").write_text(json.dumps(environment(), indent=2))
        draft = folder / "config.yaml.tmp"
        draft.write_text(yaml.safe_dump(config, sort_keys=False))
        os.replace(draft, folder / "config.yaml")
    except OSError as error:
        raise UserError(f"cannot write the run folder {folder} ({error.strerror}): choose another place") from None


def read(folder: Path) -> Config:
    """The config of an existing run folder."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(f"resume={folder} is no run folder: it has no config.yaml")
    return yaml.safe_load(file.read_text())


def last_checkpoint(folder: Path, config: Config) -> Path | None:
    """The checkpoint to continue from, if the run came that far; refused when it is of another config."""
    file = folder / "checkpoints" / "last.ckpt"
    if not file.exists():
        return None
    saved = load(file).get("config")
    if saved is None:
        raise UserError(f"{file} is no checkpoint of sslab: it holds no config")
    refuse_change(saved, config, f"{file} belongs to another run")
    return file


def load(file: Path) -> dict[str, Any]:
    """A checkpoint's content, tensors and plain containers only."""
    import torch  # a heavy import, which `--help` must not pay for

    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different error for every kind of wrong file
        raise UserError(f"{file} is no checkpoint: {str(error).splitlines()[0][:120]}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} is no checkpoint: it holds a {type(content).__name__}")
    return content


def refuse_change(old: Config, new: Config, what: str, remedy: str = "start a new run instead") -> None:
    if identity(old) != identity(new):
        lines = [f"  {key}: {was} → {now}" for key, was, now in differences(old, new)]
        raise UserError("\n".join([f"{what}; {remedy}. The difference:", *lines]))


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, old value, new value) wherever two configs differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            if path or key not in INCIDENTAL:
                yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield path, old, new


def environment() -> dict[str, Any]:
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": commit(),
    }


def commit() -> str | None:
    """The git commit of the code, where there is one."""
    here = Path(__file__).resolve().parent
    try:
        got = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5)
    except OSError:
        return None
    return got.stdout.strip() or None


def log_to(folder: Path | None, level: int = logging.INFO) -> None:
    """Log to the terminal, and to the run folder's log.txt when there is one."""
    root = logging.getLogger()
    root.setLevel(level)
    for library in ("pytorch_lightning", "lightning_fabric", "faiss"):
        logging.getLogger(library).setLevel(logging.WARNING)  # below, they advertise
    for message in NOISE:
        warnings.filterwarnings("ignore", message)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.addFilter(lambda record: not getattr(record, "quiet", False))
    terminal.setFormatter(logging.Formatter("%(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if folder is not None:
        handlers.append(logging.FileHandler(folder / "log.txt"))
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for handler in [*root.handlers]:
        if not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
