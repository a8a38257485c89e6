"""The templates of losses with a value per image: from all pairs of views at once, or from one pair at a time."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...core.step import Step
from .contrast import Anchors, Contrast, contrasts
from .heads import over_heads
from .output import Output, combined
from .precision import full_precision

Values = dict[str, Float[Tensor, " n"]]  # `loss`, and under other names what to log


class ContrastLoss(nn.Module, ABC):
    """The mean of `values` over the global batch."""

    anchors: Anchors = "queries"

    @full_precision
    @over_heads
    def forward(self, step: Step) -> Output:
        return Output.mean(step.weight, **self.values(contrasts(step, self.anchors)))

    @abstractmethod
    def values(self, contrasts: list[Contrast]) -> Values:
        """One value per image, from all pairs of views."""


class PairLoss(ContrastLoss):
    """The mean of `pair` over all pairs of views and over the global batch."""

    def values(self, contrasts: list[Contrast]) -> Values:
        return mean([self.pair(contrast) for contrast in contrasts])

    @abstractmethod
    def pair(self, contrast: Contrast) -> Values:
        """One value per query."""


def mean(pairs: list[Values]) -> Values:
    return {name: combined(name, torch.stack([pair[name] for pair in pairs])) for name in pairs[0]}
