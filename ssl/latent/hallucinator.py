"""Further queries, made by a small network out of those that are there."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..core.draws import mix, uniforms
from ..core.errors import UserError
from ..core.step import Derived, Step, pairs
from .base import Part

STREAM = 90  # of random numbers


class Hallucinator(Part):
    """One more query for every pair of views (Wu et al. 2023).

    With q the query, k its partner and G an MLP of three layers, trained with all else:

        e = q + r (q - k),    r ~ U(0, reach),    one for each pair of views
        h = G([q, e])

    h is compared with the target of q alone, and has the negatives that q has. A loss that is a mean over pairs gives q
    and h equal weight. h is of no length of its own, so losses that compare directions are what it is for.

    Args:
        dim: of the embeddings.
        reach: the largest r.
        partner: k is the `target` of the pair, or the `query` of its other view, as with a predictor.
        normalise: whether q and k are brought to unit length first, so that r is the same step everywhere.
        literal: as the official code has MoCo: k alone is brought to unit length, beside which q is long and e is
            nearly (1 + r) q; and h has a target of its own, a copy of k, so that a queue after this part stores every
            key twice. What it has of SimCLR, where h and a copy of k count as negatives of q, is not reproduced.
    """

    def __init__(
        self,
        dim: int,
        reach: float = 0.1,
        partner: Literal["target", "query"] = "target",
        normalise: bool = False,
        literal: bool = False,
    ) -> None:
        super().__init__()
        if reach < 0:
            raise UserError(f"reach={reach} is how far queries are moved away from their partners: give it 0 or more")
        if literal and (normalise or partner == "query"):
            raise UserError("literal=true is MoCo's official code: leave normalise and partner as they are")
        self.reach, self.partner, self.normalise, self.literal = reach, partner, normalise, literal
        self.generator = nn.Sequential(
            nn.Linear(2 * dim, 2 * dim),
            nn.ReLU(),
            nn.Linear(2 * dim, 2 * dim),
            nn.ReLU(),
            nn.Linear(2 * dim, dim),
        )

    def check(self, step: Step) -> None:
        super().check(step)
        if step.norms_matter:
            raise UserError(
                "Hallucinator makes queries of any length, but lengths matter after ft: leave one of them out"
            )
        if self.literal and len(step.memory):
            raise UserError("literal=true doubles what a queue stores: put hallucinator before queue in `latent`")
        if self.partner == "query" and (missing := {b for _, b in pairs(step)} - set(step.q)):
            raise UserError(f"partner=query, but views {sorted(missing)} have no query: set online_views=null")

    def change(self, step: Step) -> Step:
        q, k, derived = dict(step.q), dict(step.k), dict(step.derived)
        free = max(len(step.views), 1 + max(q.keys() | k.keys()))
        for number, (a, b) in enumerate(pairs(step), start=free):
            partner = step.q[b] if self.partner == "query" else step.k[b]
            q[number] = self.hallucinate(step.q[a], partner, self.draw(step.key, a, b))
            target = number if self.literal else b
            k[target], derived[number] = step.k[b], Derived(step.view_of(a), target)
        return step._replace(q=q, k=k, derived=derived)

    def draw(self, key: int, a: int, b: int) -> float:
        """The r of a pair of views."""
        return self.reach * uniforms(torch.tensor([key]), mix(STREAM, a, b), 1).item()

    def hallucinate(self, q: Float[Tensor, "n d"], k: Float[Tensor, "n d"], r: float) -> Float[Tensor, "n d"]:
        if self.normalise:
            q = normalize(q, dim=1)
        if self.normalise or self.literal:
            k = normalize(k, dim=1)
        return self.generator(torch.cat([q, away(q, k, r)], dim=1))


def away(q: Float[Tensor, "n d"], k: Float[Tensor, "n d"], r: float) -> Float[Tensor, "n d"]:
    """q, moved away from k by r times what lies between them."""
    return q + r * (q - k)
