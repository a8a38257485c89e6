"""Random views for evaluation, the same for the same seed."""

from dataclasses import replace
from typing import Any, NamedTuple

from ...ssl.core.draws import keys
from ...ssl.core.errors import UserError
from ...ssl.core.step import Batch, View
from .extract import PlainView


class Keyed(NamedTuple):
    """Views of which each is a function of a seed and of the row of its image."""

    views: PlainView
    seed: int

    def __call__(self, batch: Batch) -> tuple[View, ...]:
        return self.views(batch._replace(key=keys(self.seed, batch.row)))


def keyed(views: Any, plain: Any, seed: int) -> Keyed:
    """One view from that source, but as large as the plain one and normalised as it is."""
    if not hasattr(views, "size"):
        raise UserError("views of several sources are not all of one size: choose another, such as simclr or crops")
    return Keyed(replace(views, size=plain.size, mean=plain.mean, std=plain.std, count=1), seed)
