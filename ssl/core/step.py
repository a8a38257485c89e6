"""The records that walk through one training step: Batch, View, Features, Step."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


class Crop(NamedTuple):
    """A crop that a worker has already taken and resized."""

    image: UInt8[Tensor, "b 3 h w"]
    box: Float[Tensor, "b 4"]


class Batch(NamedTuple):
    """A datamodule's batch. Every field is always there; the comments give its neutral value."""

    images: UInt8[Tensor, "b 3 H W"]  # (B, 3, 0, 0) when workers took the crops
    row: Int[Tensor, " b"]  # position in the training set, the same in every epoch
    key: Int[Tensor, " b"]  # what the randomness of this sample at this step derives from
    label: Int[Tensor, " b"]  # -1: unknown
    factors: Int[Tensor, "b f"]  # (B, 0): none
    weight: Float[Tensor, " b"]  # 1
    source: Int[Tensor, " b"]  # 0: real, 1: generated
    partner: UInt8[Tensor, "b 3 H2 W2"]  # (B, 3, 0, 0): nobody has one, or workers took the crops
    paired: Bool[Tensor, " b"]  # False: there is no partner, but the image itself in its place
    crops: tuple[Crop, ...]  # (): views crop the images themselves

    @classmethod
    def of(cls, images: UInt8[Tensor, "b 3 H W"], **known: Any) -> "Batch":
        """A batch of `images` with neutral values for all that is not `known`."""
        b, device = len(images), images.device
        neutral: dict[str, Any] = {
            "row": torch.arange(b, device=device),
            "key": torch.arange(b, device=device),
            "label": torch.full((b,), -1, device=device),
            "factors": torch.zeros(b, 0, dtype=torch.long, device=device),
            "weight": torch.ones(b, device=device),
            "source": torch.zeros(b, dtype=torch.long, device=device),
            "partner": images.new_empty(b, 3, 0, 0),
            "paired": torch.zeros(b, dtype=torch.bool, device=device),
            "crops": (),
        }
        return cls(images, **(neutral | known))


class View(NamedTuple):
    """One normalised view of every image of a batch."""

    image: Float[Tensor, "b 3 h w"]
    box: Float[Tensor, "b 4"]  # x0, y0, x1, y1 of the crop on the image that it shows, be it a partner, in [0, 1]
    flipped: Bool[Tensor, " b"]
    kind: str = "global"  # or "local"


class Features(NamedTuple):
    """A backbone's features of a view: three shapes of the same last layer, if `backbone.dense` is left as it is."""

    pooled: Float[Tensor, "b d"]
    dense: Float[Tensor, "b c h w"]
    tokens: Float[Tensor, "b n d"]


class Derived(NamedTuple):
    """The origin of a query that a latent part has made beside those of the views."""

    view: int  # that it is of
    target: int  # the only one that it is compared with


class Step(NamedTuple):
    """All that a latent part or a loss may look at in one training step."""

    batch: Batch
    views: tuple[View, ...]
    progress: float  # optimiser step / total, in [0, 1)
    key: int  # what randomness common to the whole step derives from, the same on every rank
    features: dict[int, Features]  # per online view
    q: dict[int, Any]  # per online view: query embeddings (B, d), (B, H, d), (B, d, h, w), or a dict of named heads
    k: dict[int, Any]  # per target view: target embeddings of the same shape
    row: Int[Tensor, " b"]
    group: Int[Tensor, " b"]  # 0: one group
    weight: Float[Tensor, " b"]  # 1
    memory: Float[Tensor, "m *d"]  # (0, d): empty; of several heads (m, H, d)
    memory_row: Int[Tensor, " m"]
    memory_group: Int[Tensor, " m"]  # -1: a place not filled yet, of no group
    memory_label: Int[Tensor, " m"]
    hard: dict[int, Tensor]  # per view: (B, S, d) further negatives; {}: none
    derived: dict[int, Derived]  # per query in q that is not a view's own; {}: none
    norms_matter: bool  # False: losses that compare directions normalise the embeddings first
    head: int  # which of several heads these embeddings are of; 0: there is but one, or all are here
    terms: dict[str, Float[Tensor, ""]]  # what latent parts log, as one rank's shares, detached; {}: nothing

    @classmethod
    def of(cls, q: dict[int, Any], k: dict[int, Any], batch: Batch | None = None, **known: Any) -> "Step":
        """A step with these embeddings and neutral values for all that is not `known`."""
        first = next(iter(q.values()))
        z: Tensor = next(iter(first.values())) if isinstance(first, dict) else first
        b, device = len(z), z.device
        if batch is None:
            batch = Batch.of(torch.zeros(b, 3, 0, 0, dtype=torch.uint8, device=device))
        neutral: dict[str, Any] = {
            "views": (),
            "progress": 0.0,
            "key": 0,
            "features": {},
            "row": batch.row,
            "group": torch.zeros_like(batch.row),
            "weight": batch.weight,
            "memory": z.new_empty(0, *z.shape[1:]),
            "memory_row": batch.row.new_empty(0),
            "memory_group": batch.row.new_empty(0),
            "memory_label": batch.row.new_empty(0),
            "hard": {},
            "derived": {},
            "norms_matter": False,
            "head": 0,
            "terms": {},
        }
        return cls(batch, q=q, k=k, **(neutral | known))

    def view_of(self, number: int) -> int:
        """The view that a query or a target is of."""
        return self.derived[number].view if number in self.derived else number


def of_each_head(z: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """An embedding, or those of several named heads, changed."""
    return {name: change(x) for name, x in z.items()} if isinstance(z, dict) else change(z)


def pairs(step: Step) -> Iterator[tuple[int, int]]:
    """Every (a, b) with a query of view a and a target of view b, a ≠ b; a derived query has one target alone."""
    return ((a, b) for a in step.q for b in step.k if _compared(step, a, b))


def _compared(step: Step, a: int, b: int) -> bool:
    if a in step.derived:
        return step.derived[a].target == b
    if b in step.derived:  # queries may have changed places with targets
        return step.derived[b].target == a
    return a != b
