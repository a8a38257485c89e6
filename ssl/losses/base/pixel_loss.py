"""The template of losses that compare the pixels of two views which show the same place."""

from abc import ABC, abstractmethod
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from ...core.errors import UserError
from ...core.step import Step
from ..ops.pixel_pairs import positives
from ..ops.products import products
from .directions import directions
from .heads import one_head
from .output import Output
from .pair_loss import Values
from .precision import embeddings, full_precision


class PixelLoss(nn.Module, ABC):
    """The mean of `pair` over those pairs of views of an image that overlap, and over the images that have one.

    The views of an image overlap where pixels of them are positives: less than `radius` bin diagonals apart on the
    image. Others count for nothing, and the share of pairs that do is logged as `overlap`.
    """

    def __init__(self, radius: float = 0.7) -> None:
        super().__init__()
        if radius <= 0:
            raise UserError(f"radius={radius} is how near positives lie, in bin diagonals: give it a value above 0")
        self.radius = radius

    @full_precision
    def forward(self, step: Step) -> Output:
        for z in (*step.q.values(), *step.k.values()):
            self._refuse_vectors(z)
        step = embeddings(step, partial(normalize, dim=1, eps=1e-12))
        pairs = [self._compare(step, a, b) for a, b in directions(step)]
        loss, similarity, overlap = (torch.stack([pair[name] for pair in pairs]) for name in pairs[0])  # (pairs, n)
        share = overlap / overlap.sum(dim=0).clamp_min(1)
        loss, similarity = (share * loss).sum(dim=0), (share * similarity).sum(dim=0)
        output = Output.mean(step.weight * overlap.amax(dim=0), loss=loss, positive_similarity=similarity)
        overlapping = Output.mean(step.weight, loss=overlap.mean(dim=0)).total
        return Output(output.total, output.terms | {"overlap": overlapping})

    @abstractmethod
    def pair(self, similarity: Float[Tensor, "b n m"], positive: Bool[Tensor, "b n m"]) -> Float[Tensor, " b"]:
        """One value per image, from the cosines of n queries and m targets; any that is finite if none is positive."""

    def _compare(self, step: Step, a: int, b: int) -> Values:
        q, k = step.q[a], step.k[b]
        positive = positives(step.views[a], step.views[b], q.shape[2:], k.shape[2:], self.radius)
        similarity = products(q.flatten(2), k.flatten(2))
        return {
            "loss": self.pair(similarity, positive),
            "positive_similarity": mean_positive(similarity.detach(), positive),
            "overlap": positive.flatten(1).any(dim=1).to(similarity),
        }

    def _refuse_vectors(self, z: Tensor | dict[str, Tensor]) -> None:
        name = type(self).__name__
        if one_head(z, name).ndim != 4:
            raise UserError(f"{name} compares pixels, but the head gives no maps: choose head=dense, or another loss")


def mean_positive(value: Float[Tensor, "b n m"], positive: Bool[Tensor, "b n m"]) -> Float[Tensor, " b"]:
    """The mean over the positive pairs, 0 if there are none."""
    return (value * positive).sum(dim=(1, 2)) / positive.sum(dim=(1, 2)).clamp_min(1)
