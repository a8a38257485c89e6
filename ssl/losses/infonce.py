"""InfoNCE, with and without the positive in the denominator."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .base.contrast import SOURCES, Anchors, Contrast, check
from .base.pair_loss import PairLoss, Values
from .ops.logsumexp import CHUNK, Moments, zero_if_empty
from .policies.negatives import Keep
from .policies.temperature import Temperature, temperature_policy


class InfoNCE(PairLoss):
    """Tells the own target from others (NT-Xent: Chen et al. 2020, Eq. 1; DCL: Yeh et al. 2022, Eq. 6).

    With s the cosine of a query q and its target, u its negatives and t the temperature:

        loss  = -s/t + log(exp(s/t) + Σ_u exp(q·u/t))
        loss  = -s/t + log Σ_u exp(q·u/t)                with `decouple`, which is DCL

    `negatives` says which embeddings of the global batch are negatives: the targets of the view that the query is
    compared with (`cross`), of its own view (`same`), of all other views (`rest`), and the queries of its own view
    (`queries`). The first two are NT-Xent, `cross` alone MoCo v3, the first three PVC (Shidani et al. 2024). A memory
    and hard negatives, where latent parts provide them, always are: MoCo has `negatives` empty. No embedding of the
    same image ever is. `keep` leaves some of them out.

    With `anchors="targets"` each target is told its own query from those of others, as NNCLR does.
    """

    def __init__(
        self,
        temperature: float | int | Temperature = 0.2,
        decouple: bool = False,
        negatives: Sequence[str] = SOURCES,
        keep: Keep | None = None,
        anchors: Anchors = "queries",
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        check(negatives)
        self.temperature = temperature_policy(temperature, adapting=True)
        self.keeps_rows = self.temperature.adapts
        self.decouple, self.negatives, self.chunk = decouple, negatives, chunk
        self.keep, self.anchors = keep, anchors

    def pair(self, contrast: Contrast) -> Values:
        t = self.temperature(contrast.step)
        similarity = contrast.similarity
        negative = self.repulsion(contrast, t)
        positive = similarity / t
        denominator = zero_if_empty(negative.log_sum) if self.decouple else torch.logaddexp(positive, negative.log_sum)
        values = {
            "loss": denominator - positive,
            "positive_similarity": similarity,
            "positive_probability": torch.sigmoid(similarity / t - negative.log_sum),
        }
        return values | self.diagnosis(t, negative)

    def repulsion(self, contrast: Contrast, t: Float[Tensor, " n"]) -> Moments:
        brief = not (self.keep or self.temperature.adapts)
        return contrast.repulsion(t, self.negatives, self.keep, chunk=self.chunk, log_sum_only=brief)

    def diagnosis(self, t: Float[Tensor, " n"], negative: Moments) -> Values:
        """Return what policies show, and the derivative of t log mean_u exp(s_u/t) for a temperature that adapts."""
        shown = {"temperature": t} if self.temperature.varies else {}
        if self.keep:
            shown["negatives_kept"] = negative.number
        if self.temperature.adapts:
            mean_of_exp = negative.log_sum - negative.number.clamp_min(1).log()
            shown["temperature_gradient"] = (mean_of_exp - negative.mean / t).masked_fill(negative.number == 0, 0)
        return shown

    def values(self, contrasts: list[Contrast]) -> Values:
        values = super().values(contrasts)
        if self.temperature.adapts:
            self.temperature.adapt(contrasts[0].step, values.pop("temperature_gradient"))
        return values
