"""Measures during training, of tensors that are there anyway; they never change training."""

import logging
from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize
from torch.optim import Optimizer

from ...ssl.core.distributed import gather, world
from ...ssl.core.errors import UserError
from ...ssl.core.step import Step, pairs
from ..measures.geometry import alignment, feature_std_ratio, pair_similarities, uniformity
from ..measures.spectrum import rankme

ROWS = 2048  # at most so many enter a reading, over all ranks
FEWEST = 8  # real images that a reading needs where there are generated ones too
log = logging.getLogger(__name__)


class Periodic(pl.Callback, ABC):
    """Measures after every `every`-th optimiser step, and writes to the loggers under that step's number."""

    def __init__(self, every: int) -> None:
        if every < 1:
            raise UserError(f"a monitor with every={every}: expected 1 or more; switch monitors off by monitor=none")
        self.every, self.due = every, False

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        self.due = (trainer.global_step + 1) % self.every == 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self.due:
            return
        self.due = False
        with torch.no_grad():
            values = self.measure(trainer, pl_module)
        # Not through `log_dict`, which forgets what does not fall on a multiple of `log_every_n_steps`.
        for logger in trainer.loggers if values else []:
            logger.log_metrics({f"monitor/{name}": value for name, value in values.items()}, trainer.global_step - 1)

    @abstractmethod
    def measure(self, trainer: pl.Trainer, module: Any) -> dict[str, float]:
        """The readings by name; {}: nothing to read."""


class Monitor(Periodic):
    """Geometry of the embeddings and norm of the gradient, with a warning when the embeddings collapse.

    Of the first pair of views (q of one, k of another) on at most 2048 real rows over all ranks, in float32: alignment,
    uniformity, mean cosine of positives and of negatives, feature std times √d, RankMe of the embeddings and of the
    pooled features. The gradient's norm is taken before clipping.
    """

    def __init__(self, every: int = 50) -> None:
        super().__init__(every)
        self.gradient_norm: Tensor | None = None
        self.alarms = 0

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        if self.due:
            gradients = [p.grad.float() for p in pl_module.parameters() if p.grad is not None]
            self.gradient_norm = torch.nn.utils.get_total_norm(gradients)

    def measure(self, trainer: pl.Trainer, module: Any) -> dict[str, float]:
        if module.step_record is None:
            return {}
        readings = read(module.step_record)
        if self.gradient_norm is not None:
            readings["gradient_norm"] = self.gradient_norm
        values = dict(zip(readings, torch.stack([v.float() for v in readings.values()]).tolist(), strict=True))
        if trainer.is_global_zero:
            self.warn(values, trainer.global_step)
        return values

    def warn(self, values: dict[str, float], step: int) -> None:
        """Once per collapse, at its second reading: young embeddings may look like one for a moment."""
        sign = collapse(values)
        self.alarms = self.alarms + 1 if sign else 0
        if self.alarms == 2:
            log.warning("step %d: the embeddings are collapsing: %s", step, sign)


def read(step: Step) -> dict[str, Tensor]:
    """The readings of one step, of its real images alone; {}: they are too few."""
    a, b = next(pairs(step), (min(step.q), None))
    real = gather(_first(step.batch.source)) == 0
    if not real.all() and real.sum() < FEWEST:
        return {}
    q = normalize(_vectors(step.q[a])[real])
    found = {"uniformity": uniformity(q), "feature_std_ratio": feature_std_ratio(q), "rankme": rankme(q)}
    if b is not None:
        k = normalize(_vectors(step.k[b])[real])
        positive, negative = pair_similarities(q, k)
        found |= {"alignment": alignment(q, k), "positive_similarity": positive, "negative_similarity": negative}
    if a in step.features:
        found["rankme_features"] = rankme(_vectors(step.features[a].pooled)[real])
    return found


def collapse(values: dict[str, float]) -> str | None:
    """Say in plain words why these readings are a collapse, if they are."""
    if values.get("positive_similarity", 0) > 0.99 and values.get("negative_similarity", 0) > 0.99:
        return "all images have nearly the same one; lower optim.lr, or check teacher, predictor and loss"
    if values.get("feature_std_ratio", 1) < 0.3:
        spread = values["feature_std_ratio"]
        return f"they spread {spread:.2f} as far as they could; lower optim.lr, or check teacher, predictor and loss"
    if values.get("rankme", 3) < 3:
        return f"they use {values['rankme']:.1f} dimensions; check loss.temperature and the strength of the views"
    return None


def _vectors(z: Tensor | dict[str, Tensor]) -> Float[Tensor, "n d"]:
    """One float32 vector per image, of all ranks: several heads side by side, maps (B, d, h, w) averaged."""
    if isinstance(z, dict):
        return torch.cat([_vectors(head) for head in z.values()], dim=1)
    z = _first(z).float()
    return gather(z.mean((2, 3)) if z.ndim == 4 else z.flatten(1))


def _first(x: Tensor) -> Tensor:
    """This rank's share of the rows that enter a reading."""
    return x[: max(1, ROWS // world())]
