"""Views of an image and of its partner."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from ...ssl.core.draws import uniforms
from ...ssl.core.errors import UserError
from ...ssl.core.step import Batch, Crop, View
from .augment import Augment
from .multi_source import Several
from .plain import Number, Plain

PICK = 3  # keeps these draws apart from the sources'


@dataclass(frozen=True)
class Paired:
    """The views of another source, one of which shows the partner of the image in its place (Li et al. 2024).

    That view is any of the targets, with equal probabilities, by the sample's key alone. It is cropped and changed as
    the source would crop and change the image, and its box is that of the crop on the partner. An image without a
    partner has the source's own views.

    Args:
        source: whose views they are.
        probability: that a partner is shown at all.
    """

    source: Augment | Plain | Several
    probability: Number = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise UserError(f"views.probability is {self.probability}: it must lie between 0 and 1")
        if not self.targets:
            raise UserError("views.source has no large view, so none can be of a partner: choose another source")

    def __call__(self, batch: Batch) -> tuple[View, ...]:
        return self.some(batch, range(self.count))

    def some(self, batch: Batch, views: Sequence[int]) -> tuple[View, ...]:
        """The views with these numbers, which ascend."""
        own = self.source.some(batch, views)
        if batch.crops or not batch.partner.numel() or not self.probability:
            return own
        shown = self.shown(batch)
        partners = batch._replace(images=batch.partner)
        return tuple(
            self._with_partner(view, number, shown == number, partners) if number in self.targets else view
            for number, view in zip(views, own, strict=True)
        )

    def shown(self, batch: Batch) -> Int[Tensor, " b"]:
        """Return for each image the number of the view that shows its partner; -1: none."""
        return self.partner_view(batch.key).where(batch.paired, -1)

    def partner_view(self, key: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Return for each key the number of the view that is to show the partner, if there is one; -1: none."""
        targets = torch.tensor(list(self.targets), device=key.device)
        which, whether = uniforms(key, PICK, 2).unbind(1)
        return targets[(which * len(targets)).long()].where(whether < self.probability, -1)

    def crop_one(self, image: UInt8[Tensor, "3 H W"], key: Int[Tensor, ""], view: int) -> Crop:
        """The crop that view number `view` takes of an image, or of its partner: for workers."""
        return self.source.crop_one(image, key, view)

    def _with_partner(self, view: View, number: int, chosen: Bool[Tensor, " b"], partners: Batch) -> View:
        """The view with its chosen rows taken of the partners; a GPU renders all: asking which would make it wait."""
        rows = torch.arange(len(chosen), device=chosen.device)
        if chosen.device.type == "cpu":
            rows = rows[chosen]
        if not len(rows):
            return view
        some = partners._replace(images=partners.images[rows], key=partners.key[rows])
        other = self.source.some(some, [number])[0]
        image = other.image.where(chosen[rows, None, None, None], view.image[rows])
        box = other.box.where(chosen[rows, None], view.box[rows])
        return view._replace(image=view.image.index_copy(0, rows, image), box=view.box.index_copy(0, rows, box))

    @property
    def count(self) -> int:
        return self.source.count

    @property
    def targets(self) -> Sequence[int]:
        """The numbers of the views that are targets if nothing else is said."""
        return self.source.targets

    @property
    def sides(self) -> set[int]:
        """The sides of all views that it makes, in pixels."""
        return self.source.sides

    @property
    def mean(self) -> Sequence[Number]:
        return self.source.mean

    @property
    def std(self) -> Sequence[Number]:
        return self.source.std
