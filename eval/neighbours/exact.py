"""Nearest neighbours by cosine: exact, in memory that does not grow with the bank."""

import logging
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

CHUNK = 4096  # queries at a time
CELLS = 1 << 26  # numbers of the bank at a time
SETTLED = 1 << 24  # similarities at a time, where ties are settled
Neighbours = tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]  # cosines in falling order, and places in the bank


def search(bank: Float[Tensor, "m d"], queries: Float[Tensor, "n d"], k: int) -> Neighbours:
    """The k nearest of each query; of equals the first in the bank. On a GPU where there is one."""
    one_more = min(k + 1, len(bank))
    found = []
    for chunk in queries.split(CHUNK):
        unit = normalize(chunk.float())
        similarity, position = _nearest(bank, unit, one_more)
        if one_more > k:  # FAISS keeps any of those that are equal at the border
            tied = similarity[:, k - 1] == similarity[:, k]
            similarity, position = similarity[:, :k], position[:, :k]
            similarity[tied], position[tied] = _settle(bank, unit[tied], k)
        found.append((similarity, position))
    similarity, position = zip(*found, strict=True)
    return torch.cat(similarity), torch.cat(position)


def units(x: Float[Tensor, "n d"]) -> Iterator[Float[Tensor, "p d"]]:
    """Rows of length 1 in single precision, one part after another."""
    for part in x.split(max(1, CELLS // x.shape[1])):
        yield normalize(part.float())


@cache
def load_faiss() -> Any:
    """FAISS, which is slow to import, and talks of every CPU that it is not built for."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    import faiss

    return faiss


@cache
def _gpu() -> Any:
    """The memory FAISS works with on GPUs; None without one."""
    faiss = load_faiss()
    return faiss.StandardGpuResources() if faiss.get_num_gpus() else None


def _nearest(bank: Float[Tensor, "m d"], unit: Float[Tensor, "n d"], k: int) -> Neighbours:
    """The k nearest to unit vectors, from one part of the bank after another."""
    faiss, first = load_faiss(), 0
    similarity, position = unit.new_empty(len(unit), 0), torch.empty(len(unit), 0, dtype=torch.long)
    for part in units(bank):
        size = min(k, len(part))
        vectors, metric = (unit.numpy(), part.numpy()), faiss.METRIC_INNER_PRODUCT
        got = faiss.knn_gpu(_gpu(), *vectors, size, metric=metric) if _gpu() else faiss.knn(*vectors, size, metric)
        near, place = map(torch.from_numpy, got)
        merged = torch.cat([similarity, near], 1), torch.cat([position, place + first], 1)
        similarity, position = (t[:, :k] for t in _sorted(*merged))
        first += len(part)
    return similarity.contiguous(), position.contiguous()


def _sorted(similarity: Float[Tensor, "n k"], position: Int[Tensor, "n k"]) -> Neighbours:
    """Sort by falling similarity, then by rising position."""
    position, order = position.sort(dim=1)
    similarity, order = similarity.gather(1, order).sort(dim=1, descending=True, stable=True)
    return similarity, position.gather(1, order)


def _settle(bank: Float[Tensor, "m d"], unit: Float[Tensor, "n d"], k: int) -> Neighbours:
    """The same search without FAISS: of equals at the border, the first in the bank."""
    similarity, position = unit.new_empty(len(unit), k), torch.empty(len(unit), k, dtype=torch.long)
    for some in torch.arange(len(unit)).split(max(1, SETTLED // len(bank))):
        product = torch.cat([unit[some] @ part.T for part in units(bank)], 1)
        border = product.topk(k).values[:, -1:]
        above, equal = product > border, product == border
        taken = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
        where = taken.nonzero()[:, 1].view(-1, k)
        similarity[some], position[some] = _sorted(product.gather(1, where), where)
    return similarity, position
