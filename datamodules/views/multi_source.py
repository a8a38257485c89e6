"""The views of several sources, such as a few large crops and many small ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Int, UInt8
from torch import Tensor

from ...ssl.core.draws import keys
from ...ssl.core.errors import UserError
from ...ssl.core.step import Batch, Crop, View
from .augment import Augment
from .plain import Number, Plain


@dataclass(frozen=True)
class Several:
    """All views of every source, in order (multi-crop: Caron et al. 2020, Sec. 3.4).

    Every source draws its own randomness, from a key of its own for each sample. Lists with one value for each view
    count the views of the source.
    """

    sources: Mapping[str, Augment | Plain]

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("views.sources is empty: name at least one source of views")
        if len({(*source.mean, *source.std) for source in self.sources.values()}) > 1:
            raise UserError(
                f"views.sources {', '.join(self.sources)} differ in mean or std: one network sees them all, "
                "so give them the same"
            )

    def __call__(self, batch: Batch) -> tuple[View, ...]:
        return self.some(batch, range(self.count))

    def some(self, batch: Batch, views: Sequence[int]) -> tuple[View, ...]:
        """The views with these numbers, which ascend."""
        found: list[View] = []
        for number, source in enumerate(self.sources.values()):
            own = [own for of, _, own in (self._views[view] for view in views) if of == number]
            crops = tuple(crop for crop, (of, *_) in zip(batch.crops, self._views, strict=False) if of == number)
            if own:
                found += source.some(batch._replace(key=keys(number, batch.key), crops=crops), own)
        return tuple(found)

    def crop_one(self, image: UInt8[Tensor, "3 H W"], key: Int[Tensor, ""], view: int) -> Crop:
        """The crop that view number `view` takes of one image of any size: for workers."""
        number, source, own = self._views[view]
        return source.crop_one(image, keys(number, key[None])[0], own)

    @property
    def count(self) -> int:
        return len(self._views)

    @property
    def targets(self) -> list[int]:
        """The numbers of the views that are targets if nothing else is said."""
        return [view for view, (_, source, own) in enumerate(self._views) if own in source.targets]

    @property
    def sides(self) -> set[int]:
        """The sides of all views that it makes, in pixels."""
        return set[int]().union(*(source.sides for source in self.sources.values()))

    @property
    def mean(self) -> Sequence[Number]:
        return self._views[0][1].mean

    @property
    def std(self) -> Sequence[Number]:
        return self._views[0][1].std

    @property
    def _views(self) -> list[tuple[int, Augment | Plain, int]]:
        """The number of every view's source, the source, and the view's number there."""
        return [(n, source, own) for n, source in enumerate(self.sources.values()) for own in range(source.count)]
