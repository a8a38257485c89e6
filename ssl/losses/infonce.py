"""InfoNCE, with and without the positive in the denominator."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .contrast import SOURCES, Contrast, check
from .logsumexp import CHUNK, zero_if_empty
from .pairwise import PairLoss


class InfoNCE(PairLoss):
    """Tells the own target from others (NT-Xent: Chen et al. 2020, Eq. 1; DCL: Yeh et al. 2022, Eq. 6).

    With s the cosine of a query q and its target, u its negatives and t the temperature:

        loss  = -s/t + log(exp(s/t) + Σ_u exp(q·u/t))
        loss  = -s/t + log Σ_u exp(q·u/t)                with `decouple`, which is DCL

    `negatives` says which targets of the global batch are negatives: those of the view that the query is compared
    with (`cross`) and of its own view (`same`). Both is NT-Xent, `cross` alone MoCo v3. A memory and hard negatives,
    where latent parts provide them, always are: MoCo has `negatives` empty. No target of the same image ever is.
    """

    def __init__(
        self,
        temperature: float = 0.2,
        decouple: bool = False,
        negatives: Sequence[str] = SOURCES,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        check(temperature, negatives)
        self.temperature, self.decouple, self.negatives, self.chunk = temperature, decouple, negatives, chunk

    def pair(self, contrast: Contrast) -> dict[str, Float[Tensor, " n"]]:
        similarity = contrast.similarity
        positive = similarity / self.temperature
        negative = contrast.repulsion(self.temperature, self.negatives, self.chunk)
        denominator = zero_if_empty(negative) if self.decouple else torch.logaddexp(positive, negative)
        return {
            "loss": denominator - positive,
            "positive_similarity": similarity,
            "positive_probability": torch.sigmoid(positive - negative),
        }
