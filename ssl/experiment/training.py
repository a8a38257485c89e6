"""The execution of a run: hardware, precision, length, checkpoints; Lightning does the rest."""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from lightning_fabric import Fabric
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from ..core.errors import UserError
from .metrics_csv import MetricsCSV
from .progress import Progress

COUNTS = ("max_steps", "max_epochs", "accumulate", "cached_batch", "checkpoint_every", "keep_every", "log_every")


class Training(NamedTuple):
    """The settings of a trainer. `max_steps` counts optimiser steps; `max_epochs` sets it when it is null."""

    accelerator: str = "auto"
    devices: int | str | list[int] = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    sync_batchnorm: bool = False
    max_steps: int | None = None
    max_epochs: int | None = None
    accumulate: int = 1
    cached_batch: int | None = None
    compile: bool = False
    clip: float | None = None
    checkpoint_every: int = 200
    keep_every: int | None = None
    log_every: int = 20
    progress_bar: bool = True
    deterministic: bool = False

    def check(self) -> None:
        if self.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
            raise UserError("trainer.accelerator=gpu, but no CUDA device is visible: use trainer=cpu")
        if (self.max_steps is None) == (self.max_epochs is None):
            raise UserError(
                f"trainer.max_steps={self.max_steps} and trainer.max_epochs={self.max_epochs}: set one, the other null"
            )
        if self.compile and self.cached_batch is not None:
            raise UserError(
                f"trainer.compile=true and trainer.cached_batch={self.cached_batch}: chunks are computed twice by code "
                "that torch.compile does not translate; choose one of the two"
            )
        if self.compile and not _compiler():
            raise UserError(
                "trainer.compile=true needs a C++ compiler, and CXX, g++ and clang++ name none: install one"
            )
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"trainer.{name}={value}: expected 1 or more")

    @property
    def processes(self) -> int:
        """The number of ranks of the run."""
        devices = self.devices
        if devices in (-1, "-1", "auto"):
            devices = max(1, torch.cuda.device_count()) if self.accelerator != "cpu" else 1
        return self.num_nodes * (len(devices) if isinstance(devices, list) else int(devices))

    @property
    def device(self) -> torch.device:
        """The device of a single process."""
        return Fabric(accelerator=self.accelerator, devices=1).device

    def steps(self, per_epoch: int) -> int:
        return self.max_steps if self.max_steps is not None else (self.max_epochs or 0) * per_epoch

    def trainer(self, folder: Path, total_steps: int, callbacks: list[pl.Callback], loggers: list[Any]) -> pl.Trainer:
        checkpoints = folder / "checkpoints"
        last = _checkpoint(checkpoints, "last", self.checkpoint_every, keep=1)
        kept = _checkpoint(checkpoints, "step-{step:06d}", self.keep_every, keep=-1) if self.keep_every else None
        bar = self.progress_bar and Progress.visible()
        progress = Progress(total_steps, self.log_every, bar)
        tensorboard = TensorBoardLogger(folder, name="tensorboard", version="")
        return pl.Trainer(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.num_nodes,
            strategy=self.strategy,
            precision=self.mixed,  # pyright: ignore[reportArgumentType]
            sync_batchnorm=self.sync_batchnorm,
            max_steps=total_steps,
            max_epochs=-1,
            accumulate_grad_batches=self.accumulate,
            gradient_clip_val=self.clip,
            deterministic=self.deterministic or None,
            benchmark=not self.deterministic,
            log_every_n_steps=self.log_every,
            logger=[MetricsCSV(folder), tensorboard, *loggers],
            callbacks=[*callbacks, LearningRateMonitor(), progress, last, *([kept] if kept else [])],
            default_root_dir=folder,
            enable_progress_bar=bar,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )

    @property
    def mixed(self) -> str:
        """The precision; for `auto` bf16 where the hardware computes in it."""
        if self.precision != "auto":
            return self.precision
        return "bf16-mixed" if self._bf16() else "32-true"

    @property
    def frozen(self) -> str:
        """The precision of networks that only judge: bf16 where the hardware computes in it."""
        return "bf16-true" if self._bf16() else "32-true"

    def _bf16(self) -> bool:
        """Tell whether the hardware computes in bf16 itself; emulated it is slower than float32."""
        if self.accelerator != "cpu" and torch.cuda.is_available():
            return torch.cuda.is_bf16_supported(including_emulation=False)
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        return native and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _compiler() -> str | None:
    """The C++ compiler that torch.compile finds."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))), None)


class _Checkpoint(ModelCheckpoint):
    """Lightning tells two apart by how often they save, which may be equally often."""

    @property
    def state_key(self) -> str:
        return f"checkpoint {self.filename}"


def _checkpoint(folder: Path, name: str, every: int, keep: int) -> ModelCheckpoint:
    return _Checkpoint(
        folder,
        filename=name,
        auto_insert_metric_name=False,
        save_top_k=keep,
        every_n_train_steps=every,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
