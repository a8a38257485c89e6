"""Contrastive attraction and contrastive repulsion."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.errors import UserError
from .base.contrast import Contrast, by_query, check
from .base.directions import mirrored
from .base.pair_loss import ContrastLoss, Values
from .ops.logsumexp import CHUNK


class CACR(ContrastLoss):
    """Far positives are drawn harder, near negatives pushed harder (Zheng et al. 2021).

    With the cost c(u, v) = |u - v|² = 2 - 2 u·v of unit vectors, x the queries and v the targets of image i, j others:

        CA_i = mean_x Σ_{v≠x} π⁺_v c(x_i, v_i),    π⁺ = softmax_v(t⁺ c(x_i, v_i))
        CR_i = -mean_x mean_{y≠x} Σ_u π⁻_u c(x_i, u),   π⁻ = softmax_u(-t⁻ c(x_i, u))
        loss = attraction · CA + repulsion · CR

    The u are the negatives of x when it is compared with y: by default the y_j (`cross`). If there are no others and
    queries are their own targets, of (x, y) and (y, x) only x<y is counted, as in the official code.

    The small-scale official code, and so the default, differentiates through π; its MoCo variants (`detach_weights`)
    do not, whose gradient is that of DCL with temperature 1 / (2 t⁻) when there are two views.
    """

    def __init__(
        self,
        positive_scale: float = 1.0,
        negative_scale: float = 0.9,
        attraction: float = 1.0,
        repulsion: float = 1.0,
        detach_weights: bool = False,
        negatives: Sequence[str] = ("cross",),
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        check(negatives)
        if min(positive_scale, negative_scale) < 0:
            raise UserError(f"positive_scale={positive_scale}, negative_scale={negative_scale}: expected 0 or more")
        self.positive_scale, self.negative_scale = positive_scale, negative_scale
        self.attraction, self.repulsion = attraction, repulsion
        self.detach_weights, self.negatives, self.chunk = detach_weights, negatives, chunk

    def values(self, contrasts: list[Contrast]) -> Values:
        attraction, repulsion = self.attract(contrasts), self.repel(contrasts)
        return {
            "loss": self.attraction * attraction + self.repulsion * repulsion,
            "attraction": attraction,
            "repulsion": repulsion,
        }

    def attract(self, contrasts: list[Contrast]) -> Float[Tensor, " n"]:
        """The CA_i."""
        means = []
        for own in by_query(contrasts):
            cost = torch.stack([2 - 2 * contrast.similarity for contrast in own])  # (targets, n)
            weight = (self.positive_scale * cost).softmax(0)
            means.append(((weight.detach() if self.detach_weights else weight) * cost).sum(0))
        return torch.stack(means).mean(0)

    def repel(self, contrasts: list[Contrast]) -> Float[Tensor, " n"]:
        """The CR_i: the mean over query views of the mean over the views that each is compared with."""
        step = contrasts[0].step
        if set(self.negatives) == {"cross"} and mirrored(step) and not len(step.memory) and not step.hard:
            return torch.stack([self._repel(contrast) for contrast in contrasts if contrast.a < contrast.b]).mean(0)
        alike = not {"cross", "rest"} & set(self.negatives)  # negatives are the same whatever view is compared
        views = [own[:1] if alike else own for own in by_query(contrasts)]
        means = [torch.stack([self._repel(contrast) for contrast in own]).mean(0) for own in views]
        return torch.stack(means).mean(0)

    def _repel(self, contrast: Contrast) -> Float[Tensor, " n"]:
        scale = 2 * self.negative_scale  # of cosines
        inverse = torch.full_like(contrast.similarity.detach(), 1 / scale if scale else torch.inf)
        negative = contrast.repulsion(inverse, self.negatives, chunk=self.chunk, log_sum_only=False)
        mean = negative.mean  # Σ π⁻ s
        if self.detach_weights and scale:  # the same value, with the gradient of log Σ exp(scale s) / scale
            mean = mean.detach() + (negative.log_sum - negative.log_sum.detach()) / scale
        return (2 * mean - 2).masked_fill(negative.number == 0, 0)
