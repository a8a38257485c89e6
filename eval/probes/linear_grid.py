"""Linear evaluation over a grid of layers and learning rates, from cached features (Oquab et al., 2024)."""

from collections.abc import Sequence

from ..features.store import FeatureStore
from ..measures.classification import Metric, accuracy
from .held_out import Variant
from .linear import Probe, probe
from .sgd_heads import Recipe

BATCH = 1024
RATES = tuple(rate * BATCH / 256 for rate in (*(a * 10**-b for b in (5, 4, 3, 2) for a in (1, 2, 5)), 0.1))
GRID = Recipe(RATES, epochs=10, least_steps=1250, batch_size=BATCH, standardise=False)


def linear_grid(
    train: FeatureStore,
    test: FeatureStore,
    seed: int,
    recipe: Recipe = GRID,
    layers: Sequence[str] | None = None,
    variant: Variant = "clean",
    metric: Metric = accuracy,
) -> dict[str, Probe]:
    """A probe of every layer, or of these, with the learning rate that is best for it.

    The heads of a layer are one matrix product, and its features are read once for all of them.
    """
    layers = train.layers if layers is None else layers
    return {layer: probe(train.at(layer), test.at(layer), seed, recipe, variant, metric) for layer in layers}


def best(probes: dict[str, Probe]) -> str:
    """The layer whose best learning rate had the best verdict; the first on a tie."""
    return max(probes, key=lambda layer: probes[layer].verdict)
