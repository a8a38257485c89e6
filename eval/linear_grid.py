"""Linear evaluation over a grid of layers and learning rates, from cached features (Oquab et al., 2024)."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor

from .linear import Recipe, fit, held_out_accuracy
from .store import FeatureStore

BATCH = 1024
RATES = tuple(rate * BATCH / 256 for rate in (*(a * 10**-b for b in (5, 4, 3, 2) for a in (1, 2, 5)), 0.1))
GRID = Recipe(RATES, epochs=10, least_steps=1250, batch_size=BATCH, standardise=False)


class Choice(NamedTuple):
    """What the best layer and learning rate say of a test set."""

    prediction: Int[Tensor, " n"]
    layer: str
    learning_rate: float
    held_out_accuracy: dict[str, list[float]]  # by layer, of every learning rate


def linear_grid(
    train: Mapping[str, FeatureStore], test: Mapping[str, FeatureStore], seed: int, recipe: Recipe = GRID
) -> Choice:
    """The predicted label of every labelled row of `test`, from several layers of the same images.

    The heads of a layer are one matrix product, and its features are read once for all of them. The layer and rate
    that do best on a held-out tenth of train (the first on a tie) are trained again on all of it.
    """
    train, test = ({layer: store.labelled() for layer, store in part.items()} for part in (train, test))
    accuracy = {layer: held_out_accuracy(store, seed, recipe) for layer, store in train.items()}
    best = max(accuracy, key=lambda layer: float(accuracy[layer].max()))
    rate = recipe.learning_rates[int(accuracy[best].argmax())]
    store = train[best]
    head = fit(store.features, store.label, int(store.label.max()) + 1, seed, recipe._replace(learning_rates=(rate,)))
    prediction = head.predict(test[best].features)[:, 0]
    return Choice(prediction, best, rate, {layer: found.tolist() for layer, found in accuracy.items()})
