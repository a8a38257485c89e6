"""Nearest neighbours from an inverted file: not all are found, and how many is measured."""

import logging
from math import isqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from .exact import Neighbours, load_faiss, search, units

FITTED = 64  # vectors per list that the lists are fitted to
MEASURED = 256  # queries that are searched exactly as well
log = logging.getLogger(__name__)


class IVF:
    """Searches the `probes` lists that are nearest to a query, of 4 √m; `recall` is the share found by the last search.

    Args:
        probes: how many lists are searched.
        seed: of the vectors that the lists are fitted to, and of the queries that measure recall.
    """

    def __init__(self, probes: int, seed: int = 0) -> None:
        self.probes, self.seed = probes, seed
        self.recall = float("nan")

    def __call__(self, bank: Float[Tensor, "m d"], queries: Float[Tensor, "n d"], k: int) -> Neighbours:
        index = self._index(bank)
        found = [map(torch.from_numpy, index.search(part.numpy(), k)) for part in units(queries)]
        similarity, position = map(torch.cat, zip(*found, strict=True))
        if (position < 0).any():
            raise UserError(f"{self.probes} lists hold fewer than k={k} vectors: raise probes, or search exactly")
        some = permutation(mix(self.seed, 1), len(queries))[:MEASURED]
        exact = search(bank, queries[some], k)[1]
        self.recall = (position[some, :, None] == exact[:, None]).any(2).double().mean().item()
        log.info(
            "IVF, %d of %d lists: %.1f %% of the %d nearest are found", self.probes, index.nlist, 100 * self.recall, k
        )
        return similarity, position

    def _index(self, bank: Float[Tensor, "m d"]) -> Any:
        faiss = load_faiss()
        lists = min(4 * isqrt(len(bank)), len(bank))
        index = faiss.index_factory(bank.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        fitted = permutation(mix(self.seed), len(bank))[: FITTED * lists].sort().values
        index.train(torch.cat(list(units(bank[fitted]))).numpy())
        for part in units(bank):
            index.add(part.numpy())
        index.nprobe = self.probes
        return index
