"""Positives moved apart, and negatives mixed with each other."""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..core.draws import beta, keys, mix, permutation
from ..core.errors import UserError
from ..core.step import Step, pairs
from ..losses.base.precision import embeddings
from .base import Part

POSITIVE, NEGATIVE, PLACE, PARTNER = range(70, 74)  # streams of random numbers


class FeatureTransform(Part):
    """Harder positives and more varied negatives (FT; Zhu et al. 2021).

    With a query q, its target k and the memory n, all of unit length:

        q' = λ q + (1-λ) k,    k' = λ k + (1-λ) q,    λ - 1 ~ Beta(positive_alpha, positive_alpha)
        n'_j = λ n_j + (1-λ) n_π(j),                  λ ~ Beta(negative_alpha, negative_alpha)

    π is a random permutation inside every group, so that places not filled yet stay apart; rows and labels stay those
    of n_j. One λ serves the whole step, or with `dimensions` every number of the positives, the negatives or both has
    its own. As published nothing is normalised again, and k' carries the gradient of q. Positives that are to
    `interpolate` have λ ~ Beta: an easier task.
    """

    def __init__(
        self,
        positive_alpha: float = 2.0,
        negative_alpha: float = 1.6,
        dimensions: Literal["none", "both", "positive", "negative"] = "none",
        positives: Literal["extrapolate", "interpolate", "keep"] = "extrapolate",
        negatives: Literal["interpolate", "keep"] = "interpolate",
        from_epoch: int = 0,
        epochs: float | None = None,
    ) -> None:
        super().__init__(from_epoch, epochs)
        if min(positive_alpha, negative_alpha) <= 0:
            raise UserError(
                f"positive_alpha={positive_alpha} and negative_alpha={negative_alpha} are of Beta distributions: "
                "give both a value above 0"
            )
        self.positive_alpha, self.negative_alpha, self.dimensions = positive_alpha, negative_alpha, dimensions
        self.positives, self.negatives = positives, negatives
        self.needs_memory = negatives == "interpolate"

    def check(self, step: Step) -> None:
        super().check(step)
        if len(directions := list(pairs(step))) != 1:
            raise UserError(
                f"FeatureTransform moves one query and one target apart, but {len(directions)} pairs of views are "
                "compared: set online_views=[0] target_views=[1]"
            )

    def change(self, step: Step) -> Step:
        step = embeddings(step, partial(normalize, dim=-1))._replace(norms_matter=True)
        if self.positives != "keep":
            step = self.move_positives(step)
        return step if self.negatives == "keep" else self.mix_negatives(step)

    def move_positives(self, step: Step) -> Step:
        ((a, b),) = pairs(step)
        q, k = step.q[a], step.k[b]
        own = step.batch.key if self.dimensions in ("positive", "both") else None
        weight = draw(step, own, POSITIVE, q.shape[1], self.positive_alpha).to(q.dtype)
        if self.positives == "extrapolate":
            weight = weight + 1
        return step._replace(q=step.q | {a: torch.lerp(k, q, weight)}, k=step.k | {b: torch.lerp(q, k, weight)})

    def mix_negatives(self, step: Step) -> Step:
        memory = step.memory
        place = torch.arange(len(memory), device=memory.device)
        own = keys(mix(step.key, PLACE), place) if self.dimensions in ("negative", "both") else None
        weight = draw(step, own, NEGATIVE, memory.shape[1], self.negative_alpha).to(memory.dtype)
        partner = memory[partners(step.memory_group, mix(step.key, PARTNER))]
        return step._replace(memory=torch.lerp(partner, memory, weight))


def draw(step: Step, own: Int[Tensor, " n"] | None, stream: int, dim: int, alpha: float) -> Float[Tensor, "n d"]:
    """Beta variates: `dim` for every one of its `own` keys, or without them one for the step."""
    if own is not None:
        return beta(own, stream, dim, alpha)
    return beta(torch.full((1,), step.key, device=step.row.device), stream, 1, alpha)


def partners(group: Int[Tensor, " m"], seed: int) -> Int[Tensor, " m"]:
    """A random permutation that leaves every place in its group; of a single group it is any permutation."""
    order = permutation(seed, len(group)).to(group.device)
    partner = torch.empty_like(order)
    partner[group.argsort(stable=True)] = order[group[order].argsort(stable=True)]
    return partner
