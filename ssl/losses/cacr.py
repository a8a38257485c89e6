"""Contrastive attraction and contrastive repulsion."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .contrast import Contrast, check
from .logsumexp import CHUNK
from .pairwise import ContrastLoss, Values


class CACR(ContrastLoss):
    """Far positives are drawn harder, near negatives pushed harder (Zheng et al. 2021).

    With the cost c(u, v) = |u - v|² = 2 - 2 u·v of unit vectors, x the queries and v the targets of image i, j others:

        CA_i = mean_x Σ_{v≠x} π⁺_v c(x_i, v_i),    π⁺ = softmax_v(t⁺ c(x_i, v_i))
        CR_i = -mean_{x<y} Σ_j π⁻_j c(x_i, y_j),   π⁻ = softmax_j(-t⁻ c(x_i, y_j))
        loss = attraction · CA + repulsion · CR

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
        costs: dict[int, list[Tensor]] = {}
        for contrast in contrasts:
            costs.setdefault(contrast.a, []).append(2 - 2 * contrast.similarity)
        means = []
        for cost in map(torch.stack, costs.values()):  # (targets, n)
            weight = (self.positive_scale * cost).softmax(0)
            means.append(((weight.detach() if self.detach_weights else weight) * cost).sum(0))
        return torch.stack(means).mean(0)

    def repel(self, contrasts: list[Contrast]) -> Float[Tensor, " n"]:
        """The CR_i, of every two views that are both compared with each other only once."""
        both = {(contrast.a, contrast.b) for contrast in contrasts}
        once = [contrast for contrast in contrasts if contrast.a < contrast.b or (contrast.b, contrast.a) not in both]
        return torch.stack([self._repel(contrast) for contrast in once]).mean(0)

    def _repel(self, contrast: Contrast) -> Float[Tensor, " n"]:
        scale = 2 * self.negative_scale  # of cosines
        inverse = torch.full_like(contrast.similarity.detach(), 1 / scale if scale else torch.inf)
        negative = contrast.repulsion(inverse, self.negatives, chunk=self.chunk, log_sum_only=False)
        mean = negative.mean  # Σ π⁻ s
        if self.detach_weights and scale:  # the same value, with the gradient of log Σ exp(scale s) / scale
            mean = mean.detach() + (negative.log_sum - negative.log_sum.detach()) / scale
        return (2 * mean - 2).masked_fill(negative.number == 0, 0)
