"""Contrast in which every pair of embeddings has a temperature of its own."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ..core.errors import UserError
from .base.contrast import SOURCES, Contrast, check, local
from .base.pair_loss import PairLoss, Values
from .ops.blocks import in_blocks
from .ops.logsumexp import CHUNK, EMPTY, zero_if_empty
from .policies.pair_temperature import PairTemperature, named, omega, pair_temperature

Repulsion = Literal["max", "topk", "lse"]


class AMCL(PairLoss):
    """Adaptive multi-head contrast, in the form for SimCLR and MoCo (Wang et al. 2024).

    With s the cosine of a pair, τ its temperature, s⁺, τ⁺ those of a query and its target, n its negatives, and
    Ω(τ) = d/2 · ln τ + 1/τ for embeddings in d dimensions:

        loss = -g⁺ + R_n g_n,    g = s/τ - beta · Ω(τ)

    The repulsion R is log Σ_n exp(g_n) (`lse`), and for a temperature that is a number the loss is DCL; the paper has
    its bound, g of the negative with the highest cosine (`max`), or the mean of g over those with the `k` highest
    (`topk`). Both may collapse where a network starts with all embeddings alike, and the hardest negative nearer than
    the target. Without any negative R is 0. By default beta is 1/d; a beta of 1 makes g a log-likelihood.

    Of several heads it is the mean, where the paper has the sum. `negatives` are those of InfoNCE, and so is a memory.
    """

    def __init__(
        self,
        temperature: float | int | PairTemperature = 0.2,
        beta: float | None = None,
        repulsion: Repulsion = "lse",
        k: int = 16,
        negatives: Sequence[str] = SOURCES,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        check(negatives)
        if k < 1:
            raise UserError(f"amcl.k={k} is how many negatives repel a query with repulsion=topk: choose 1 or more")
        self.temperature, self.beta = pair_temperature(temperature), beta
        self.repulsion, self.k = repulsion, k
        self.negatives, self.chunk = negatives, chunk

    def pair(self, contrast: Contrast) -> Values:
        step, query = contrast.step, contrast.step.q[contrast.a]
        tau = self.temperature.between(query, step.k[contrast.b], step.head)
        positive = self.affinity(contrast.similarity, tau, query.shape[1])
        negative, spread = self.of_all(contrast) if self.repulsion == "lse" else self.of_hardest(contrast)
        return {
            "loss": negative - positive,
            "positive_similarity": contrast.similarity,
            **named("positive", self.temperature.spread(tau[:, None])),
            **named("negative", spread),
        }

    def affinity(
        self, similarity: Float[Tensor, "*shape"], tau: Float[Tensor, "*shape"], dim: int
    ) -> Float[Tensor, "*shape"]:
        """The g of pairs."""
        return similarity / tau - omega(tau, dim, self.beta)

    def of_hardest(self, contrast: Contrast) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 4"]]:
        """The mean g of the most similar negatives, and the spread of their temperatures."""
        query = contrast.step.q[contrast.a]
        others, missing = contrast.hardest(self.negatives, self.k if self.repulsion == "topk" else 1, self.chunk)
        tau = self.temperature.between(query[:, None], others, contrast.step.head)
        affinity = self.affinity((query[:, None] * others).sum(dim=-1), tau, query.shape[1])
        mean = affinity.masked_fill(missing, 0).sum(dim=1) / (~missing).sum(dim=1).clamp_min(1)
        return mean, self.temperature.spread(tau, missing)

    def of_all(self, contrast: Contrast) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 4"]]:
        """The log Σ exp(g) of all negatives, and the spread of their temperatures."""
        step, candidates, temperature = contrast.step, contrast.candidates(self.negatives), self.temperature
        query = local(step, step.q[contrast.a])
        hard = step.hard.get(contrast.a, query.z[:, None][:, :0])  # (n, S, d)

        def block(part: slice, z: Tensor, own: Tensor, hard: Tensor, of_hard: Tensor, *column: Tensor) -> Tensor:
            """The log-sum-exp and the spread of some queries."""
            others, of_others = column
            missing = pad(query.part(part).excluded(candidates), (0, hard.shape[1]))
            tau = temperature(products(own, of_others, of_hard))
            affinity = self.affinity(products(z, others, hard), tau, z.shape[1])
            log_sum = affinity.masked_fill(missing, EMPTY).logsumexp(dim=1, keepdim=True)
            return torch.cat([log_sum, temperature.spread(tau, missing)], dim=1)

        split = (query.z, temperature.of_query(query.z, step.head), hard, temperature.of_target(hard))
        whole = (candidates.z, temperature.of_target(candidates.z))
        found = in_blocks(block, split, whole, rows=self.chunk // (len(candidates.z) + hard.shape[1]))
        return zero_if_empty(found[:, 0]), found[:, 1:]


def products(
    query: Float[Tensor, "n d"], others: Float[Tensor, "m d"], own: Float[Tensor, "n s d"]
) -> Float[Tensor, "n m_and_s"]:
    """Return the products of every query with all others, and with its own ones."""
    return torch.cat([query @ others.T, torch.einsum("nd,nsd->ns", query, own)], dim=1)
