"""The template of losses of a batch as a whole: statistics over all of its images, so no value per sample."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...core.distributed import gather
from ...core.errors import UserError
from ...core.step import Step
from .directions import directions, mirrored
from .heads import over_heads
from .output import Output, combined
from .precision import embeddings, full_precision


class BatchLoss(nn.Module, ABC):
    """The mean of `pair` over all pairs of views, each with the embeddings of all ranks.

    Queries that are their own targets make (a, b) and (b, a) one pair.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looked = False

    @full_precision
    @over_heads
    def forward(self, step: Step) -> Output:
        self._refuse_weights(step)
        everyone = embeddings(step._replace(memory=step.memory[:0], hard={}), gather)
        once = mirrored(everyone)
        compared = [(a, b) for a, b in directions(step) if a < b or not once]
        values = [self.pair(everyone.q[a], everyone.k[b], step) for a, b in compared]
        means = {name: combined(name, torch.stack([value[name] for value in values])) for name in values[0]}
        return Output.whole(**means)

    @abstractmethod
    def pair(
        self, query: Float[Tensor, "n d"], target: Float[Tensor, "n d"], step: Step
    ) -> dict[str, Float[Tensor, ""]]:
        """The `loss` of one pair of views, and under other names what to log."""

    def _refuse_weights(self, step: Step) -> None:
        """Once: to look at every step would make a device wait."""
        if not self.looked and not torch.all(step.weight == step.weight[0]):
            raise UserError(
                f"{type(self).__name__} has no value per sample that a weight could multiply: choose a loss that "
                "compares samples, such as infonce or cosine, or leave out what sets weights"
            )
        self.looked = True
