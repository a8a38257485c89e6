"""The one input of every evaluation: features with what is known about their images."""

from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class FeatureStore(NamedTuple):
    """Frozen features of some rows of an image set, in float32 on the CPU."""

    features: Float[Tensor, "n d"]
    label: Int[Tensor, " n"]  # -1: unknown
    factors: Int[Tensor, "n f"]  # (n, 0): none
    row: Int[Tensor, " n"]  # position in the image set
    meta: dict[str, Any]  # layer, precision
    factor_names: tuple[str, ...] = ()

    def take(self, which: Tensor) -> "FeatureStore":
        """Some of the rows, by position or by mask."""
        return self._replace(**{name: getattr(self, name)[which] for name in ("features", "label", "factors", "row")})

    def labelled(self) -> "FeatureStore":
        """The rows whose label is known."""
        known = self.label >= 0
        return self if known.all() else self.take(known)  # nothing to copy
