"""Losses with one term per image in which all of its views meet."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .base.contrast import Contrast
from .base.pair_loss import ContrastLoss, Values
from .ops.logsumexp import CHUNK, zero_if_empty
from .policies.temperature import Temperature, temperature_policy

Variant = Literal["code", "paper"]


class MVInfoNCE(ContrastLoss):
    """One InfoNCE for all views of an image (Koromilas et al. 2025).

    With e = exp(cosine / temperature), l the queries and m the targets of image i, j all images:

        loss_i = -log [ Σ_{l≠m} e_il,im / Σ_l Σ_{(j,m)≠(i,l)} e_il,jm ]

    The official code has in the denominator all but the query itself; `variant="paper"` leaves out targets of the
    query's own view. `decouple` leaves out the image's own targets, as DCL does.
    """

    def __init__(
        self,
        temperature: float | int | Temperature = 0.5,
        decouple: bool = False,
        variant: Variant = "code",
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        self.temperature = temperature_policy(temperature)
        self.decouple, self.variant, self.chunk = decouple, variant, chunk

    def values(self, contrasts: list[Contrast]) -> Values:
        t = self.temperature(contrasts[0].step)
        positive = torch.stack([contrast.similarity for contrast in contrasts])  # (pairs, n)
        denominators = [self._denominator(contrasts, a, t) for a in _queries(contrasts)]
        return {
            "loss": torch.stack(denominators).logsumexp(0) - (positive / t).logsumexp(0),
            "positive_similarity": positive.mean(0),
        }

    def _denominator(self, contrasts: list[Contrast], a: int, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The log of what query a sums over."""
        own = [contrast for contrast in contrasts if contrast.a == a]
        sources = ["cross", "rest"] + (["same"] if self.variant == "code" else [])
        negative = own[0].repulsion(t, sources, chunk=self.chunk).log_sum
        positives = [] if self.decouple else [contrast.similarity / t for contrast in own]
        return torch.stack([negative, *positives]).logsumexp(0)


class MVDHEL(ContrastLoss):
    """Alignment across views beside uniformity within each (Koromilas et al. 2025).

    With e = exp(cosine / temperature), l the views of image i:

        loss_i = -log Σ_{l<m} e_il,im + Σ_l log Σ_{j≠i} e_il,jl

    as in the official code. `variant="paper"` sums over l≠m, and j=i included. The sums stay logarithms throughout:
    as a product they overflow float32 from six views on. Negatives are of the query's own view alone; positives
    do not meet them, so the loss is decoupled by nature.
    """

    def __init__(
        self, temperature: float | int | Temperature = 0.5, variant: Variant = "code", chunk: int = CHUNK
    ) -> None:
        super().__init__()
        self.temperature = temperature_policy(temperature)
        self.variant, self.chunk = variant, chunk

    def values(self, contrasts: list[Contrast]) -> Values:
        t = self.temperature(contrasts[0].step)
        positive = torch.stack([contrast.similarity for contrast in contrasts])  # (pairs, n)
        uniformity = torch.stack([self._spread(contrasts, a, t) for a in _queries(contrasts)]).sum(0)
        unordered = len({frozenset((contrast.a, contrast.b)) for contrast in contrasts})
        double = math.log(len(contrasts) / unordered) if self.variant == "code" else 0.0
        return {
            "loss": uniformity + double - (positive / t).logsumexp(0),
            "positive_similarity": positive.mean(0),
            "uniformity": uniformity,
        }

    def _spread(self, contrasts: list[Contrast], a: int, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        contrast = next(contrast for contrast in contrasts if contrast.a == a)
        q, k = contrast.step.q[a], contrast.step.k
        source = "same" if a in k else "queries"
        negative = contrast.repulsion(t, [source], chunk=self.chunk).log_sum
        if self.variant == "code":
            return zero_if_empty(negative)
        return torch.logaddexp(negative, (q * k.get(a, q)).sum(-1) / t)


def _queries(contrasts: list[Contrast]) -> list[int]:
    return list(dict.fromkeys(contrast.a for contrast in contrasts))
