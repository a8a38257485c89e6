"""Weighted k-nearest-neighbour classification by exact cosine similarity."""

import logging
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..ssl.errors import UserError
from .store import FeatureStore

CHUNK = 4096  # queries at a time
CELLS = 1 << 24  # similarities at a time, where ties are settled


def knn(
    bank: FeatureStore, queries: FeatureStore, ks: Sequence[int], temperatures: Sequence[float]
) -> dict[tuple[int, float], Int[Tensor, " n"]]:
    """The predicted label of every labelled query, per (k, T), from one search.

    score_c = Σ_{j ∈ k nearest, y_j = c} exp(s_j / T) over unit vectors (Wu et al., 2018); T = ∞ is the majority vote.
    Rows without a label are left out. Among equal similarities the lower row of the bank comes first, among equal
    scores the lower label wins; so the order of the bank changes nothing.
    """
    bank, queries = bank.labelled(), queries.labelled()
    _check(bank.label, queries.label, ks)
    order = bank.row.argsort(stable=True)
    label = bank.label[order]
    similarity, position = search(normalize(bank.features[order]), normalize(queries.features), max(ks, default=1))
    neighbour = label[position]  # (n, k)
    return {(k, t): vote(similarity[:, :k], neighbour[:, :k], t) for k in ks for t in temperatures}


def vote(similarity: Float[Tensor, "n k"], label: Int[Tensor, "n k"], temperature: float) -> Int[Tensor, " n"]:
    """The label with the largest sum of exp(similarity / temperature)."""
    nearest = similarity[:, :1]  # taken off in the exponent: the same winner, and no overflow at a low temperature
    weight = ((similarity - nearest).double() / temperature).exp()
    score = weight.new_zeros(len(label), int(label.max()) + 1)
    return score.scatter_add_(1, label, weight).argmax(1)


def search(
    bank: Float[Tensor, "m d"], queries: Float[Tensor, "n d"], k: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest inner products of each query in falling order, and where they are in the bank."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells of every CPU that it is not built for
    import faiss  # slow to import, and only needed here

    index = faiss.IndexFlatIP(bank.shape[1])
    index.add(bank.numpy())  # pyright: ignore[reportCallIssue]
    one_more = min(k + 1, len(bank))
    found = []
    for chunk in queries.split(CHUNK):
        got = index.search(chunk.numpy(), one_more)  # pyright: ignore[reportCallIssue]
        similarity, position = _sorted(*map(torch.from_numpy, got))
        if one_more > k:  # FAISS keeps any of those that are equal at the border
            tied = similarity[:, k - 1] == similarity[:, k]
            similarity, position = similarity[:, :k], position[:, :k]
            similarity[tied], position[tied] = _settle(bank, chunk[tied], k)
        found.append((similarity, position))
    similarity, position = zip(*found, strict=True)
    return torch.cat(similarity), torch.cat(position)


def _sorted(
    similarity: Float[Tensor, "n k"], position: Int[Tensor, "n k"]
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """By falling similarity, then by rising position."""
    position, order = position.sort(dim=1)
    similarity, order = similarity.gather(1, order).sort(dim=1, descending=True, stable=True)
    return similarity, position.gather(1, order)


def _settle(
    bank: Float[Tensor, "m d"], queries: Float[Tensor, "n d"], k: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The same search without FAISS: of equals at the border, the first in the bank."""
    similarity, position = queries.new_empty(len(queries), k), torch.empty(len(queries), k, dtype=torch.long)
    for some in torch.arange(len(queries)).split(max(1, CELLS // len(bank))):
        product = queries[some] @ bank.T
        border = product.topk(k).values[:, -1:]
        above, equal = product > border, product == border
        taken = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
        where = taken.nonzero()[:, 1].view(-1, k)
        similarity[some], position[some] = _sorted(product.gather(1, where), where)
    return similarity, position


def _check(label: Int[Tensor, " m"], wanted: Int[Tensor, " n"], ks: Sequence[int]) -> None:
    if len(label) == 0 or len(wanted) == 0:
        raise UserError(f"kNN needs labels, but no row of the {'queries' if len(label) else 'bank'} has one")
    if (label == label[0]).all():
        raise UserError(f"kNN needs two classes or more, but all {len(label)} labelled rows are of class {label[0]}")
    for k in ks:
        if not 1 <= k <= len(label):
            raise UserError(f"kNN with k={k}: expected 1 to {len(label)}, the labelled rows of the bank")
