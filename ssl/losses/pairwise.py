"""The template of losses that compare two views at a time."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..step import Step
from .contrast import Contrast, contrasts
from .output import Output
from .precision import full_precision


class PairLoss(nn.Module):
    """The mean of `pair` over all pairs of views and over the global batch."""

    @full_precision
    def forward(self, step: Step) -> Output:
        values = [self.pair(contrast) for contrast in contrasts(step)]
        means = {name: torch.stack([value[name] for value in values]).mean(dim=0) for name in values[0]}
        return Output.mean(step.weight, **means)

    def pair(self, contrast: Contrast) -> dict[str, Float[Tensor, " n"]]:
        """One value per query: `loss`, and under other names what to log."""
        raise NotImplementedError
