"""The one training step that every method shares."""

import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ..core.draws import mix
from ..core.errors import UserError
from ..core.step import Batch, Step, View, of_each_head
from .encoder import Encoder
from .optim import PARTS, Optim


class Module(pl.LightningModule):
    """Batch → views → encoder → predictor → q, beside teacher → k; then the latent parts in turn, and the loss.

    It knows contracts, no concrete part. `step_record` holds the last step, detached, for monitors.
    """

    def __init__(
        self,
        views: Callable[[Batch], tuple[View, ...]],
        plain_view: Callable[[Batch], tuple[View, ...]],
        encoder: Encoder,
        predictor: nn.Module,
        teacher: nn.Module,
        latent: list[nn.Module],
        loss: nn.Module,
        optim: Optim,
        online_views: list[int],
        target_views: list[int],
        total_steps: int,
        total_batch: int,
        seed: int,
        log_every: int,
        config: dict[str, Any],
    ) -> None:
        super().__init__()
        self.views, self.plain_view = views, plain_view
        self.encoder, self.predictor = encoder, predictor
        self.teacher: Any = teacher  # a Module: (views, z) -> k, with `shared` and `update(encoder, progress)`
        self.latent, self.loss = nn.ModuleList(latent), loss
        self.optim, self.online_views, self.target_views = optim, online_views, target_views
        self.total_steps, self.total_batch, self.seed, self.config = total_steps, total_batch, seed, config
        self.log_every = log_every
        # Such as prototypes that are not to move yet.
        self.watchful: list[Any] = [part for part in self.modules() if hasattr(part, "before_update")]
        self.step_record: Step | None = None
        self.unchecked: list[tuple[int, Tensor, Tensor]] = []  # steps, losses and rows not yet looked at

    @property
    def backbone(self) -> nn.Module:
        return self.encoder.backbone

    @property
    def progress(self) -> float:
        return self.global_step / self.total_steps

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        if self.device.type == "cpu" or len(self.unchecked) >= self.log_every:
            self.stop_if_not_finite()
        key = mix(self.seed, self.global_step, batch_index)
        torch.manual_seed(mix(key, self.global_rank))  # dropout, drop path
        with torch.no_grad():
            views = self.views(batch)
        step = self.embed(batch, views)._replace(key=key)
        for part in self.latent:
            step = part(step)
        loss, terms = self.loss(step)
        self.unchecked.append((self.global_step, loss.detach(), batch.row))
        self.step_record = detached(step)
        if (self.global_step + 1) % self.log_every == 0:
            # A rank holds its share of the global loss; the mean over ranks is the loss.
            shares = {"loss": loss.detach(), **{f"loss/{name}": term for name, term in terms.items()}}
            shares |= {f"latent/{name}": term for name, term in step.terms.items()}
            self.log_dict(shares, sync_dist=True)
        return loss

    def embed(self, batch: Batch, views: tuple[View, ...]) -> Step:
        """Queries of the online views and targets of the target views."""
        seen = sorted({*self.online_views, *self.target_views}) if self.teacher.shared else self.online_views
        encoded = self.encoder({v: views[v] for v in seen})
        z = {v: e.z for v, e in encoded.items()}
        q = {v: self.predictor(z[v]) for v in self.online_views}
        k = self.teacher({v: views[v] for v in self.target_views}, z)
        features = {v: encoded[v].features for v in self.online_views}
        return Step.of(q, k, batch, views=views, progress=self.progress, features=features)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for part in self.watchful:
            part.before_update(self.progress)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        progress = self.progress
        self.optim.set_decay(self.optimizers(), progress)
        super().optimizer_step(*args, **kwargs)
        self.teacher.update(self.encoder, progress)

    def configure_optimizers(self) -> Any:
        parts = {name: self.get_submodule(name) for name in PARTS}
        optimizer = self.optim.build(parts, self.total_batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.optim.factors(optimizer, self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def stop_if_not_finite(self) -> None:
        """Look at the losses since the last look: before anything is saved, and rarely where a device would wait."""
        unchecked, self.unchecked = self.unchecked, []
        values = torch.stack([loss for _, loss, _ in unchecked]).tolist() if unchecked else []
        for value, (step, _, rows) in zip(values, unchecked, strict=True):
            if not math.isfinite(value):
                raise UserError(
                    f"the loss is {value} at step {step} (rows {rows[:8].tolist()} …): the last good checkpoint is "
                    "kept; lower optim.lr, raise loss.temperature or set trainer.precision=32-true"
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.stop_if_not_finite()
        checkpoint["config"] = self.config

    def on_train_end(self) -> None:
        self.stop_if_not_finite()
        self.step_record = None


def detached(step: Step) -> Step:
    """The same step without its graph."""
    return step._replace(
        q={v: of_each_head(q, torch.detach) for v, q in step.q.items()},
        k={v: of_each_head(k, torch.detach) for v, k in step.k.items()},
        features={v: type(f)(*(t.detach() for t in f)) for v, f in step.features.items()},
        memory=step.memory.detach(),
        hard={v: h.detach() for v, h in step.hard.items()},
    )
