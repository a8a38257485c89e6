"""Self-distillation of sharpened and centred targets."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..core.distributed import total, world
from ..core.errors import UserError
from ..core.step import Step
from .base.prototype_loss import PrototypeLoss


class DINO(PrototypeLoss):
    """Predicts a teacher's distribution over prototypes (Caron et al. 2021, Eq. 1 and 4).

    With k the target's scores:

        p = softmax((k - centre) / u),    centre ← momentum · centre + (1 - momentum) · mean k,

    the mean being over all targets of the global batch, whatever their weights. u rises from `start` to `end` over
    the first `warmup_epochs` of a run of `epochs`, along a line (the paper: by steps, once an epoch). Groups are
    immaterial, since no sample is another's negative, and so is a memory.

    Args:
        temperature: of the queries.
        start: the targets' first temperature.
        end: the targets' last temperature.
        warmup_epochs: how long it takes from `start` to `end`.
        momentum: of the centre.
        dim: number of prototypes; left out, the centre takes its size from the first batch.
        epochs: length of the run.
        scores: whether the head gives scores.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        start: float = 0.04,
        end: float = 0.07,
        warmup_epochs: float = 30.0,
        momentum: float = 0.9,
        dim: int = 1,
        epochs: float = 100.0,
        scores: bool = True,
    ) -> None:
        super().__init__(temperature, scores)
        if min(start, end) <= 0 or not 0 <= momentum < 1:
            raise UserError(f"start={start}, end={end}, momentum={momentum}: expected above 0, above 0, and in [0, 1)")
        self.start, self.end, self.warmup_epochs, self.epochs = start, end, warmup_epochs, epochs
        self.momentum = momentum
        self.centre = nn.Buffer(torch.zeros(dim))

    def assign(self, target: dict[int, Float[Tensor, "n c"]], step: Step) -> dict[int, Float[Tensor, "n c"]]:
        temperature = self.target_temperature(step.progress)
        assigned = {view: ((k - self.centre) * (1 / temperature)).softmax(dim=1) for view, k in target.items()}
        if self.training:
            mean = total(torch.stack([*target.values()]).mean(dim=(0, 1))) / world()
            self.centre = self.momentum * self.centre + (1 - self.momentum) * mean
        return assigned

    def target_temperature(self, progress: float) -> float:
        epoch = progress * self.epochs
        risen = epoch / self.warmup_epochs if epoch < self.warmup_epochs else 1.0
        return self.start + (self.end - self.start) * risen
