"""Nearest neighbours, by a matrix product that is never held in memory as a whole."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CHUNK = 1 << 22


def nearest(
    query: Float[Tensor, "n d"],
    candidates: Float[Tensor, "m d"],
    excluded: Callable[[slice], Bool[Tensor, "rows m"]],
    count: int,
    chunk: int = CHUNK,
) -> tuple[Float[Tensor, "n {count}"], Int[Tensor, "n {count}"]]:
    """The products of every query with its `count` most similar candidates, from the largest down, and their places.

    Those that are excluded come last, with -inf. None of it is differentiated: give it detached embeddings.
    """
    rows = max(1, chunk // max(1, len(candidates)))
    found = []
    for start in range(0, len(query), rows):
        part = slice(start, start + rows)
        similarity = (query[part] @ candidates.T).masked_fill_(excluded(part), -torch.inf)
        # What topk does for one, in a fraction of the time.
        found.append(similarity.max(dim=1, keepdim=True) if count == 1 else similarity.topk(count, dim=1))
    similarities, places = zip(*found, strict=True)
    return torch.cat(similarities), torch.cat(places)
