"""The one input of most evaluations: features with what is known about their images."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from ...ssl.core.errors import UserError

NONE: Mapping[str, Tensor] = MappingProxyType({})


class FeatureStore(NamedTuple):
    """Frozen features of some rows of an image set, on the CPU.

    What `extract` gives is in float16, in memory or mapped from a file. So whoever computes with features turns them
    into float32 or float64 first, a part at a time where there may be many.
    """

    features: Float[Tensor, "n d"]
    label: Int[Tensor, " n"]  # -1: unknown
    factors: Int[Tensor, "n f"]  # (n, 0): none
    row: Int[Tensor, " n"]  # position in the image set
    meta: dict[str, Any]  # layer, precision
    factor_names: tuple[str, ...] = ()
    others: Mapping[str, Float[Tensor, "n _"]] = NONE  # features of other layers, by name

    def take(self, which: Tensor) -> "FeatureStore":
        """Some of the rows, by position or by mask."""
        parts = {name: getattr(self, name)[which] for name in ("features", "label", "factors", "row")}
        return self._replace(**parts, others={name: features[which] for name, features in self.others.items()})

    def labelled(self) -> "FeatureStore":
        """The rows whose label is known."""
        known = self.label >= 0
        return self if known.all() else self.take(known)  # nothing to copy

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of all layers."""
        return (self.meta["layer"], *self.others)

    def without(self, *layers: str) -> "FeatureStore":
        """The same rows, but not these layers of the others."""
        return self._replace(others={name: z for name, z in self.others.items() if name not in layers})

    def at(self, layer: str) -> "FeatureStore":
        """The same rows, with the features of this layer alone."""
        if layer not in self.layers:
            raise UserError(f"there are no features of layer {layer}: there are {', '.join(self.layers)}")
        features = self.features if layer == self.meta["layer"] else self.others[layer]
        return self._replace(features=features, meta={**self.meta, "layer": layer}, others=NONE)
