"""Contrast by sorting: every positive has to rank above every negative."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ..core.errors import UserError
from .base.contrast import Contrast, by_query
from .base.pair_loss import ContrastLoss, Values, mean
from .ops.nearest import CHUNK
from .ops.sorting import among_lowest

FARTHEST = -1.0


class GroCo(ContrastLoss):
    """Learns by sorting (GroCo: Shvetsova et al. 2023).

    The cosines x of a query are those with its P targets in other views and with its `k_neg` most similar negatives.
    With p_i the probability that a differentiable sort puts x_i among the k_neg lowest, and a mean over the queries
    of a view, then over views:

        loss = -1/(k_neg + P) · (Σ_{i negative} log p_i + Σ_{i positive} log(1 - p_i))

    Targets and negatives have no gradient. Negatives are other images in the query's own view: the targets of that
    view, or its queries if it has no targets, as a small crop has none. A memory and hard negatives join them if there
    are any; places without one hold cosine -1.
    """

    def __init__(
        self, k_neg: int = 10, steepness: float = 1.0, chunk: int = CHUNK, batch_size: int | None = None
    ) -> None:
        super().__init__()
        if k_neg < 1:
            raise UserError(f"groco.k_neg={k_neg} leaves nothing to rank the positives above: choose 1 or more")
        if steepness <= 0:
            raise UserError(f"groco.steepness={steepness} would not sort upwards: give it a value above 0")
        if batch_size is not None and k_neg >= batch_size:
            raise UserError(
                f"groco.k_neg={k_neg} needs batches of {k_neg + 1} or more images, but data.batch_size={batch_size}: "
                "choose fewer negatives or a larger batch"
            )
        self.k_neg, self.steepness, self.chunk = k_neg, steepness, chunk

    def values(self, contrasts: list[Contrast]) -> Values:
        return mean([self.view(own) for own in by_query(contrasts)])

    def view(self, own: list[Contrast]) -> Values:
        """One value per query of a view, from its contrasts with the others."""
        step, a = own[0].step, own[0].a
        targets = torch.stack([step.k[contrast.b] for contrast in own], dim=1)
        positive, negative = cosines(step.q[a], targets).sort(dim=1).values, self.negatives(own[0])
        low = among_lowest(torch.cat([negative, positive], dim=1), self.k_neg, self.steepness)
        right = torch.cat([low[:, : self.k_neg], 1 - low[:, self.k_neg :]], dim=1)
        return {
            "loss": -right.clamp_min(torch.finfo(right.dtype).eps).log().mean(dim=1),
            "positive_similarity": positive.mean(dim=1),
            "negative_similarity": negative.mean(dim=1),
        }

    def negatives(self, contrast: Contrast) -> Float[Tensor, "n {self.k_neg}"]:
        """The highest cosines with negatives, in ascending order."""
        step, a = contrast.step, contrast.a
        source = "same" if step.view_of(a) in step.k else "queries"
        others, missing = contrast.hardest([source], self.k_neg, self.chunk)
        ascending = cosines(step.q[a], others).masked_fill(missing, FARTHEST).sort(dim=1).values
        return pad(ascending, (self.k_neg - ascending.shape[1], 0), value=FARTHEST)


def cosines(query: Float[Tensor, "n d"], targets: Float[Tensor, "n m d"]) -> Float[Tensor, "n m"]:
    """Cosines of every query with its own row of targets, which are constants."""
    return (query[:, None] * targets.detach()).sum(dim=-1)
