"""Decoupled contrast whose hard positives count more."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.distributed import gather
from ..core.errors import UserError
from .base.contrast import SOURCES, Contrast, check
from .base.pair_loss import PairLoss
from .ops.logsumexp import CHUNK, zero_if_empty
from .policies.temperature import Temperature, temperature_policy


class DCLW(PairLoss):
    """DCL with a weight on the attraction (Yeh et al. 2022, Eq. 7).

    With s_i the cosine of query i and its target, u its negatives, t the temperature:

        loss_i = -w_i s_i/t + log Σ_u exp(q_i·u/t),    w_i = 2 - exp(s_i/sigma) / mean_j exp(s_j/sigma)

    The weights have mean 1 over the global batch, or with `global_weights` off over each rank's share, as in the
    reference code. They are negative for a positive far easier than the others, and constants to the gradient unless
    `detach_weights` is off, as it is in the reference code.
    """

    def __init__(
        self,
        temperature: float | int | Temperature = 0.1,
        sigma: float = 0.5,
        global_weights: bool = True,
        detach_weights: bool = True,
        negatives: Sequence[str] = SOURCES,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        check(negatives)
        if sigma <= 0:
            raise UserError(f"sigma={sigma} divides the cosines: give it a value above 0")
        self.temperature = temperature_policy(temperature)
        self.sigma, self.global_weights, self.detach_weights = sigma, global_weights, detach_weights
        self.negatives, self.chunk = negatives, chunk

    def pair(self, contrast: Contrast) -> dict[str, Float[Tensor, " n"]]:
        t, similarity = self.temperature(contrast.step), contrast.similarity
        negative = contrast.repulsion(t, self.negatives, chunk=self.chunk).log_sum
        weight = self.weights(similarity.detach() if self.detach_weights else similarity)
        return {
            "loss": zero_if_empty(negative) - weight * similarity / t,
            "positive_similarity": similarity,
            "positive_probability": torch.sigmoid(similarity / t - negative),
        }

    def weights(self, similarity: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The w_i of the local queries."""
        scaled = similarity / self.sigma
        everyone = gather(scaled) if self.global_weights else scaled
        return 2 - (scaled - everyone.logsumexp(dim=0) + math.log(len(everyone))).exp()
