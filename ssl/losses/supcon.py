"""Contrast with several positives: further images are targets too."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .base.contrast import SOURCES, Contrast, by_query, check, local
from .base.pair_loss import ContrastLoss, Values, mean
from .ops.logsumexp import CHUNK, zero_if_empty
from .ops.weighted_sum import weighted_sum
from .policies.positives import Soft
from .policies.temperature import Temperature, temperature_policy


class SupCon(ContrastLoss):
    """Supervised contrast, with the softmax inside the mean over positives (Khosla et al. 2020, Eq. 2, L_out).

    With q a query, P its own targets in the other views, u the embeddings of other images and w_u their weights:

        loss = -(Σ_P q·p + Σ_u w_u q·u) / (t (|P| + Σ_u w_u)) + log(Σ_P exp(q·p/t) + Σ_u exp(q·u/t))

    as a mean over the queries of a view, then over views. One denominator holds all views. SupCon has w_u = 1 for
    images of the same class, else 0 (`soft=labels`). Other weights come from the similarity of targets
    (`soft=affinity`), as a mean over the own targets. `decouple` takes the positives out of the denominator: P, and
    each u whose weight is 1.

    `negatives` says which u there are: the targets of the views that the query is compared with (`cross`), those of
    its own view (`same`), and the queries of its own view (`queries`); a memory is always among them. Both defaults
    together are all views.
    """

    def __init__(
        self,
        soft: Soft,
        temperature: float | int | Temperature = 0.1,
        decouple: bool = False,
        negatives: Sequence[str] = SOURCES,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        check(negatives)
        self.temperature = temperature_policy(temperature)
        self.decouple, self.soft, self.chunk = decouple, soft, chunk
        self.sources = [*negatives, "rest"] if "cross" in negatives else negatives  # `cross` of every own target

    def values(self, contrasts: list[Contrast]) -> Values:
        t = self.temperature(contrasts[0].step)
        values = mean([self.view(own, t) for own in by_query(contrasts)])
        return values | ({"temperature": t} if self.temperature.varies else {})

    def view(self, own: list[Contrast], t: Float[Tensor, " n"]) -> Values:
        """One value per query of a view, from its contrasts with all others."""
        first, step = own[0], own[0].step
        q = step.q[first.a]
        similarity = torch.stack([contrast.similarity for contrast in own])  # (|P|, n)
        candidates = first.candidates(self.sources)
        anchors, constants = local(step, q), candidates._replace(z=candidates.z.detach())
        targets = [local(step, step.k[contrast.b].detach()) for contrast in own]

        def weights(part: slice) -> Float[Tensor, "rows m"]:
            each = torch.stack([self.soft(target.part(part), constants) for target in targets])
            return each.mean(dim=0).masked_fill(anchors.part(part).excluded(candidates), 0)

        others, mass = weighted_sum(candidates.z, weights, len(q), self.chunk)
        positive = (similarity.sum(dim=0) + (q * others).sum(dim=-1)) / (len(own) + mass)
        without = (lambda part: weights(part) >= 1) if self.decouple else None
        negative = first.repulsion(t, self.sources, without=without, chunk=self.chunk).log_sum
        attracted = (similarity / t).logsumexp(dim=0)
        denominator = zero_if_empty(negative) if self.decouple else torch.logaddexp(attracted, negative)
        return {
            "loss": denominator - positive / t,
            "positive_similarity": similarity.mean(dim=0),
            "positive_probability": torch.sigmoid(attracted - negative),
        }
