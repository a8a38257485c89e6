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

    def labelled(self) -> "FeatureStore":
        """The rows whose label is known."""
        known = self.label >= 0
        if known.all():  # nothing to copy
            return self
        return self._replace(**{name: getattr(self, name)[known] for name in ("features", "label", "factors", "row")})
