"""The comparison of queries with targets: the one place that knows of ranks, groups, memory and hard negatives."""

from collections.abc import Callable, Collection
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from ...core.distributed import gather
from ...core.errors import UserError
from ...core.points import Points
from ...core.step import Step
from ..ops.logsumexp import CHUNK, Moments, moments
from ..ops.nearest import nearest
from ..policies.negatives import Keep
from .directions import directions
from .precision import embeddings

SOURCES = ("cross", "same")  # the usual negatives
ALL_SOURCES = (*SOURCES, "rest", "queries")
Anchors = Literal["queries", "targets"]


class Everyone:
    """The embeddings of all ranks, gathered when first asked for."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.gathered: dict[int, Tensor] = {}

    def points(self, z: Float[Tensor, "n d"]) -> Points:
        """`z`, one of the step's embeddings, of all ranks."""
        return Points(*(self._gather(field) for field in local(self.step, z)))

    def _gather(self, x: Tensor) -> Tensor:
        if id(x) not in self.gathered:
            self.gathered[id(x)] = gather(x)
        return self.gathered[id(x)]


class Contrast(NamedTuple):
    """The queries of view a against the targets of view b, as unit vectors, and what serves as their negatives."""

    step: Step
    a: int
    b: int
    everyone: Everyone

    @property
    def similarity(self) -> Float[Tensor, " n"]:
        """The cosine of every query and its own target."""
        return (self.step.q[self.a] * self.step.k[self.b]).sum(dim=-1)

    def candidates(self, sources: Collection[str]) -> Points:
        """Return the points that may be negatives, out of the global batch, and always the memory.

        Of the batch it is targets, those of view b (`cross`), of view a (`same`), of other views (`rest`), or the
        `queries` of view a.
        """
        q, k, own = self.step.q, self.step.k, self.step.view_of(self.a)
        targets = {"cross": [self.b], "same": [own], "rest": [v for v in k if v not in (own, self.b)]}
        views = [k[v] for source, some in targets.items() if source in sources for v in some if v in k]
        points = [self.everyone.points(z) for z in views + ([q[self.a]] if "queries" in sources else [])]
        if len(self.step.memory):
            step = self.step
            points.append(Points(step.memory, step.memory_row, step.memory_group, step.memory_label))
        if not points and self.a not in self.step.hard:
            raise UserError(
                f"view {self.a} has no negatives: negatives={list(sources)} offers none of its targets and "
                "there is no memory; choose negatives=[cross] or put a queue into `latent`"
            )
        return Points.join(points or [local(self.step, self.step.q[self.a]).part(slice(0))])

    def repulsion(
        self,
        temperature: Float[Tensor, " n"],
        sources: Collection[str],
        keep: Keep | None = None,
        without: Callable[[slice], Bool[Tensor, "rows m"]] | None = None,
        chunk: int = CHUNK,
        log_sum_only: bool = True,
    ) -> Moments:
        """Moments of the cosines with the negatives of every query, weighted by exp(cosine / temperature).

        Negatives are the candidates of other images in the same group, except those that `without` masks for some
        rows; of them, those that `keep` keeps.
        """
        anchor, candidates = local(self.step, self.step.q[self.a]), self.candidates(sources)

        def excluded(part: slice, similarity: Float[Tensor, "rows m"]) -> Bool[Tensor, "rows m"]:
            mask = anchor.part(part).excluded(candidates)
            if without:
                mask |= without(part)
            return keep(similarity, mask) if keep else mask

        found = moments(anchor.z, candidates.z, 1 / temperature, excluded, chunk, log_sum_only)
        if self.a not in self.step.hard:
            return found
        return _join(found, torch.einsum("nd,nsd->ns", anchor.z, self.step.hard[self.a]), 1 / temperature)

    def hardest(
        self, sources: Collection[str], count: int, chunk: int = CHUNK
    ) -> tuple[Float[Tensor, "n k d"], Bool[Tensor, "n k"]]:
        """The `count` negatives most similar to every query, or as many as there are; and True where there is none."""
        candidates, query = self.candidates(sources), local(self.step, self.step.q[self.a].detach())
        similarity, place = nearest(
            query.z,
            candidates.z.detach(),
            lambda part: query.part(part).excluded(candidates),
            min(count, len(candidates.z)),
            chunk,
        )
        others = candidates.z[place]
        if self.a in self.step.hard:
            others = torch.cat([others, self.step.hard[self.a]], dim=1)
            of_hard = torch.einsum("nd,nsd->ns", query.z, self.step.hard[self.a].detach())
            similarity, place = torch.cat([similarity, of_hard], dim=1).topk(min(count, others.shape[1]), dim=1)
            others = others.take_along_dim(place[..., None], dim=1)
        return others, similarity == -torch.inf


def _join(found: Moments, hard: Float[Tensor, "n s"], scale: Float[Tensor, " n"]) -> Moments:
    """Moments over further negatives, of which every query has its own."""
    logits = hard * scale[:, None]
    log_sum = torch.logaddexp(found.log_sum, logits.logsumexp(dim=1))
    hard_mean = ((logits - log_sum[:, None]).exp() * hard).sum(dim=1)
    return Moments(log_sum, (found.log_sum - log_sum).exp() * found.mean + hard_mean, found.number + hard.shape[1])


def local(step: Step, z: Float[Tensor, "n d"]) -> Points:
    """Embeddings of this rank's share of the batch, as points."""
    return Points(z, step.row, step.group, step.batch.label)


def check(negatives: Collection[str]) -> None:
    """Refuses what no contrast can be made with."""
    if unknown := set(negatives) - set(ALL_SOURCES):
        raise UserError(f"negatives={negatives} names {sorted(unknown)}: choose among {list(ALL_SOURCES)}")


def contrasts(step: Step, anchors: Anchors = "queries") -> list[Contrast]:
    """One contrast for every pair of views, of which each needs a query and the other a target.

    With `anchors="targets"` it is the targets that are told which query is theirs.
    """
    if anchors == "targets":
        step = step._replace(q=step.k, k=step.q)
    if not step.norms_matter:
        step = embeddings(step, partial(normalize, dim=-1, eps=1e-12))
    everyone = Everyone(step)
    return [Contrast(step, a, b, everyone) for a, b in directions(step)]


def by_query(contrasts: list[Contrast]) -> list[list[Contrast]]:
    """The contrasts of each query view, in the order of the views."""
    return [list(own) for _, own in groupby(contrasts, key=attrgetter("a"))]
