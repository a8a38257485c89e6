"""Contrast against the whole training set, by a moving average for every image."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..core.errors import UserError
from .base.contrast import SOURCES, Contrast, check
from .base.pair_loss import PairLoss, Values, mean
from .ops.logsumexp import CHUNK
from .policies.row_state import RowState
from .policies.temperature import Temperature, temperature_policy


class SogCLR(PairLoss):
    """Stochastic optimisation of the global contrastive loss (SogCLR: Yuan et al. 2022; iSogCLR: Qiu et al. 2023).

    For a query i with its target at cosine s, negatives u at cosines s_u, temperature t:

        g = mean_u exp(s_u/t),    u_i ← (1 - gamma) u_i + gamma g,    p_u = exp(s_u/t) / (u_i |negatives|)
        loss_i = Σ_u p_u s_u - s,  summed over the views that ask

    g, u_i and p are constants to the gradient, which is t times that of DCL, with the one batch's denominator replaced
    by the average u_i over all that image i has been contrasted with. At the first visit u_i = g. u_i is kept as its
    logarithm, as the mean over the pairs of views that the image was asked in.

    With a temperature for every row (`loss/temperature=per_row`) this is iSogCLR, whose temperature follows
    G = log u_i + rho - Σ_u p_u s_u / t.
    """

    keeps_rows = True

    def __init__(
        self,
        rows: int | None = None,
        temperature: float | int | Temperature = 0.1,
        gamma: float = 0.9,
        negatives: Sequence[str] = SOURCES,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        check(negatives)
        if not 0 < gamma <= 1:
            raise UserError(f"gamma={gamma} is the share of the newest batch in the average: expected 0 < gamma <= 1")
        self.temperature = temperature_policy(temperature, adapting=True)
        if any(True for _ in self.temperature.parameters()):
            raise UserError("a learned temperature gets no gradient here: choose loss/temperature=per_row (iSogCLR)")
        self.gamma, self.negatives, self.chunk = gamma, negatives, chunk
        self.log_u = RowState(rows, -math.inf)  # the log of 0: not visited yet

    def values(self, contrasts: list[Contrast]) -> Values:
        step, queries = contrasts[0].step, len({contrast.a for contrast in contrasts})
        pairs = [self.pair(contrast) for contrast in contrasts]
        log_u = torch.stack([pair.pop("log_u") for pair in pairs]).logsumexp(0) - math.log(len(pairs))
        values = mean(pairs)
        self.log_u.write(step.row, log_u)
        self.temperature.adapt(step, values.pop("temperature_gradient"))
        return values | {"loss": queries * values["loss"]}

    def pair(self, contrast: Contrast) -> Values:
        t, similarity = self.temperature(contrast.step), contrast.similarity
        negative = contrast.repulsion(t, self.negatives, chunk=self.chunk, log_sum_only=False)
        alone = negative.number == 0
        log_g = (negative.log_sum - negative.number.clamp_min(1).log()).detach()
        log_u = self.average(self.log_u.read(contrast.step.row).to(log_g), log_g, alone)
        mass = (log_g - log_u).masked_fill(alone, -torch.inf).exp()  # Σ_u p_u
        # The value is Σ_u p_u s_u; with p constant its gradient is that of mass · t · log Σ_u exp(s_u/t).
        mean_s = negative.mean.detach() + t * (negative.log_sum - negative.log_sum.detach())
        return {
            "loss": mass * mean_s - similarity,
            "positive_similarity": similarity,
            "temperature": t,
            "log_u": log_u,
            "temperature_gradient": (log_u - mass * negative.mean.detach() / t).masked_fill(alone, 0),
        }

    def average(
        self, before: Float[Tensor, " n"], log_g: Float[Tensor, " n"], alone: Bool[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """The logs of u_i after this batch."""
        kept = before + (math.log1p(-self.gamma) if self.gamma < 1 else -math.inf)
        after = torch.logaddexp(kept, log_g + math.log(self.gamma))
        return torch.where(alone, before, torch.where(before == -torch.inf, log_g, after))
