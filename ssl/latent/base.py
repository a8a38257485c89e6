"""The template of latent parts: what happens to a step between the embeddings and the loss."""

from abc import ABC, abstractmethod
from functools import partial

import torch
from torch import nn

from ..core.errors import UserError
from ..core.step import Step, of_each_head
from ..losses.base.precision import at_least_float32, embeddings


class Part(nn.Module, ABC):
    """A part that changes steps from epoch `from_epoch` of `epochs` on: outside autocast, in at least float32."""

    needs_memory = False
    any_shape = False  # whether embeddings may be of several heads, or maps

    def __init__(self, from_epoch: int = 0, epochs: float | None = None) -> None:
        super().__init__()
        if from_epoch and epochs is None:
            raise UserError(f"from_epoch={from_epoch} is counted in a run of unknown length: give epochs as well")
        self.from_epoch, self.epochs = from_epoch, epochs or 0.0

    def forward(self, step: Step) -> Step:
        self.check(step)
        if step.progress * self.epochs < self.from_epoch - 1e-6:  # 3 epochs may come out as 2.9999999999999996
            return step
        with torch.autocast(step.weight.device.type, enabled=False):
            return self.change(embeddings(step, partial(of_each_head, change=at_least_float32)))

    def check(self, step: Step) -> None:
        """Refuses a step that the part cannot work on, also before its first epoch."""
        if self.needs_memory and not len(step.memory):
            raise UserError(
                f"{type(self).__name__} works on the memory of the step, but that is empty: put a queue with "
                "from_epoch=0 before it in `latent`"
            )
        shapes = [z.ndim if isinstance(z, torch.Tensor) else None for z in (*step.q.values(), *step.k.values())]
        if not self.any_shape and set(shapes) != {2}:
            raise UserError(f"{type(self).__name__} works on one vector per image: choose a head that gives one")

    def rehearse(self, step: Step) -> Step:
        """Return what the part would make of a step of noise, before training begins."""
        return self(step)

    @abstractmethod
    def change(self, step: Step) -> Step: ...
