"""The lines that a user sees while training: loss, images per second, and the share of time spent waiting for data."""

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl

from ..core.distributed import world

log = logging.getLogger(__name__)


class Progress(pl.Callback):
    """Measures the throughput and writes one line every `every` steps to the log (and to a terminal, without a bar)."""

    def __init__(self, total: int, every: int, bar: bool) -> None:
        self.total, self.every, self.bar = total, every, bar
        self._restart()

    @staticmethod
    def visible() -> bool:
        """Tell whether a bar can be drawn: not into a file or a pipe."""
        return sys.stderr.isatty()

    def _restart(self) -> None:
        self.since = self.waiting_since = time.monotonic()
        self.waited, self.images = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restart()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.waited += time.monotonic() - self.waiting_since
        self.images += len(batch.row) * world()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, stepped = trainer.global_step, (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and (step % self.every == 0 or step == self.total):
            self._report(trainer, pl_module, outputs["loss"] * trainer.accumulate_grad_batches)
        self.waiting_since = time.monotonic()

    def _report(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Any) -> None:
        loss = float(loss)  # waits for the device, so that the time below is the device's
        seconds = max(time.monotonic() - self.since, 1e-9)
        speed, waiting = self.images / seconds, self.waited / seconds
        pl_module.log_dict({"images_per_second": speed, "waiting": waiting}, prog_bar=self.bar)
        pl_module.log("loss", loss, prog_bar=self.bar, logger=False)
        line = "step %d/%d  loss %.4f  %.0f images/s  %.0f %% waiting for data"
        log.info(line, trainer.global_step, self.total, loss, speed, 100 * waiting, extra={"quiet": self.bar})
        self._restart()
