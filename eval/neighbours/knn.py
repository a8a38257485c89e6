"""Weighted k-nearest-neighbour classification by cosine similarity."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from .exact import Neighbours, search

CHUNK = 4096  # votes at a time
Search = Callable[[Float[Tensor, "m d"], Float[Tensor, "n d"], int], Neighbours]


def knn(
    bank: FeatureStore,
    queries: FeatureStore,
    ks: Sequence[int],
    temperatures: Sequence[float],
    search: Search = search,
) -> dict[tuple[int, float], Int[Tensor, " n"]]:
    """The predicted label of every labelled query, per (k, T), from one search.

    score_c = Σ_{j ∈ k nearest, y_j = c} exp(s_j / T) over unit vectors (Wu et al., 2018); T = ∞ is the majority vote.
    Rows without a label are left out. Among equal similarities the lower row of the bank comes first, among equal
    scores the lower label wins; so the order of the bank changes nothing.
    """
    bank, queries = bank.labelled(), queries.labelled()
    _check(bank.label, queries.label, ks)
    if (bank.row.diff() < 0).any():
        bank = bank.take(bank.row.argsort(stable=True))
    similarity, position = search(bank.features, queries.features, max(ks, default=1))
    neighbour = bank.label[position]  # (n, k)
    return {(k, t): vote(similarity[:, :k], neighbour[:, :k], t) for k in ks for t in temperatures}


def vote(similarity: Float[Tensor, "n k"], label: Int[Tensor, "n k"], temperature: float) -> Int[Tensor, " n"]:
    """The label with the largest sum of exp(similarity / temperature)."""
    classes = int(label.max()) + 1
    winners = []
    for near, y in zip(similarity.split(CHUNK), label.split(CHUNK), strict=True):
        weight = ((near - near[:, :1]).double() / temperature).exp()  # the nearest has 1: no overflow at a low one
        winners.append(weight.new_zeros(len(y), classes).scatter_add_(1, y, weight).argmax(1))
    return torch.cat(winners)


def _check(label: Int[Tensor, " m"], wanted: Int[Tensor, " n"], ks: Sequence[int]) -> None:
    if len(label) == 0 or len(wanted) == 0:
        raise UserError(f"kNN needs labels, but no row of the {'queries' if len(label) else 'bank'} has one")
    if (label == label[0]).all():
        raise UserError(f"kNN needs two classes or more, but all {len(label)} labelled rows are of class {label[0]}")
    for k in ks:
        if not 1 <= k <= len(label):
            raise UserError(f"kNN with k={k}: expected 1 to {len(label)}, the labelled rows of the bank")
