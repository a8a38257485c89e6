"""The choice of negatives of a query, by how similar they are to it."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.errors import UserError


@runtime_checkable
class Keep(Protocol):
    """Decides, row by row, from the similarities to all candidates and the mask of those that are no negatives."""

    def __call__(self, similarity: Float[Tensor, "rows m"], excluded: Bool[Tensor, "rows m"]) -> Bool[Tensor, "rows m"]:
        """The mask, with what is dropped added to it."""
        ...


class Hardest:
    """The k most similar, and those as similar as the k-th (hard contrastive loss: Wang & Liu 2021, Sec. 3.4).

    The published upper quantiles alpha of a memory bank stand for k = 4095.
    """

    def __init__(self, k: int = 4095) -> None:
        if k < 1:
            raise UserError(f"keep.k={k}: at least one negative must be kept")
        self.k = k

    def __call__(self, similarity: Float[Tensor, "rows m"], excluded: Bool[Tensor, "rows m"]) -> Bool[Tensor, "rows m"]:
        ranked = similarity.masked_fill(excluded, -torch.inf)
        threshold = ranked.topk(min(self.k, ranked.shape[1]), dim=1).values[:, -1:]
        return excluded | (ranked < threshold)


class WithoutOutliers:
    """All but false negatives: those above Q3 + r (Q3 - Q1), with the quartiles of the query's own negatives.

    The box-and-whisker filter of UNPG (Jung et al. 2022), its upper side only: what is that similar is likely of the
    same kind. Of fewer than four negatives all are kept. Of Gaussian similarities r=1.5 drops 0.35 %.
    """

    def __init__(self, r: float = 1.5) -> None:
        if r < 0:
            raise UserError(f"keep.r={r} is how far above the box negatives may lie: give it 0 or more")
        self.r = r

    def __call__(self, similarity: Float[Tensor, "rows m"], excluded: Bool[Tensor, "rows m"]) -> Bool[Tensor, "rows m"]:
        some = similarity.masked_fill(excluded, torch.nan)
        quartiles = similarity.new_tensor([0.25, 0.75])
        low, high = some.nanquantile(quartiles, dim=1, keepdim=True)  # NaN, above which nothing is, of no negatives
        enough = (~excluded).sum(dim=1, keepdim=True) >= 4
        return excluded | (enough & (similarity > high + self.r * (high - low)))
