"""Who is contrasted with whom: the one place that knows of ranks, groups, memory and hard negatives."""

from collections.abc import Callable, Collection, Iterator
from functools import cache, partial, reduce
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..distributed import gather
from ..errors import UserError
from ..step import Step, pairs
from .logsumexp import CHUNK, log_sum_exp
from .precision import embeddings

SOURCES = ("cross", "same")


class Points(NamedTuple):
    """Embeddings, each with the image that it shows and the group of that image."""

    z: Float[Tensor, "n d"]
    row: Int[Tensor, " n"]
    group: Int[Tensor, " n"]

    def excluded(self, candidates: "Points", part: slice) -> Bool[Tensor, "part m"]:
        """True where a candidate is no negative of a point: it shows the same image, or is of another group."""
        same_image = self.row[part, None] == candidates.row
        return same_image.logical_or_(self.group[part, None] != candidates.group)


class Contrast(NamedTuple):
    """The queries of view a against the targets of view b, as unit vectors, and what serves as their negatives."""

    step: Step
    a: int
    b: int
    everyone: Callable[[], Step]  # the step with the targets of all ranks, gathered when first asked for

    @property
    def similarity(self) -> Float[Tensor, " n"]:
        """The cosine of every query and its own target."""
        return (self.step.q[self.a] * self.step.k[self.b]).sum(dim=-1)

    def candidates(self, negatives: Collection[str]) -> Iterator[Points]:
        """The targets of view b (`cross`) and of view a (`same`) of the global batch, and the memory."""
        views = {"cross": self.b, "same": self.a}
        for view in (views[source] for source in SOURCES if source in negatives):
            if view in self.step.k:
                yield Points(self.everyone().k[view], self.everyone().row, self.everyone().group)
        if len(self.step.memory):
            yield Points(self.step.memory, self.step.memory_row, self.step.memory_group)

    def repulsion(self, temperature: float, negatives: Collection[str], chunk: int = CHUNK) -> Float[Tensor, " n"]:
        """Log Σ exp(cosine / temperature) over the negatives of every query, `EMPTY` where there are none."""
        # Scaled before the product, so that a temperature may be learned, and may differ from row to row.
        anchor = Points(self.step.q[self.a] / temperature, self.step.row, self.step.group)
        terms = [
            log_sum_exp(anchor.z, points.z, partial(anchor.excluded, points), chunk)
            for points in self.candidates(negatives)
        ]
        if self.a in self.step.hard:
            terms.append(torch.einsum("nd,nsd->ns", anchor.z, self.step.hard[self.a]).logsumexp(dim=1))
        if not terms:
            raise UserError(
                f"view {self.a} has no negatives: negatives={list(negatives)} offers none of its targets and "
                "there is no memory; choose negatives=[cross] or put a queue into `latent`"
            )
        return reduce(torch.logaddexp, terms)


def check(temperature: float, negatives: Collection[str]) -> None:
    """Refuses what no contrast can be made with."""
    if temperature <= 0:
        raise UserError(f"temperature={temperature} divides the cosines: give it a value above 0")
    if unknown := set(negatives) - set(SOURCES):
        raise UserError(f"negatives={negatives} names {sorted(unknown)}: choose among {list(SOURCES)}")


def contrasts(step: Step) -> Iterator[Contrast]:
    """One contrast for every pair of views, of which each needs a query and the other a target."""
    step = embeddings(step, partial(normalize, dim=-1, eps=1e-12))
    everyone = cache(partial(_everyone, step))
    directions = list(pairs(step))
    if not directions:
        raise UserError(
            f"queries of views {list(step.q)} and targets of views {list(step.k)} make no pair of "
            "different views: set views.count to 2 or more, or other online_views and target_views"
        )
    return (Contrast(step, a, b, everyone) for a, b in directions)


def _everyone(step: Step) -> Step:
    targets = {view: gather(z) for view, z in step.k.items()}
    return step._replace(k=targets, row=gather(step.row), group=gather(step.group))
