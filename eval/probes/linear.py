"""The linear probe: softmax regression on frozen features, its learning rate chosen on a part of train."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..measures.classification import Metric, accuracy
from .held_out import Variant, split
from .sgd_heads import Heads, Recipe, fit

RECIPE = Recipe()


class Trial(NamedTuple):
    """A head for every learning rate, the images that judge them, and the verdicts."""

    heads: Heads
    judge: FeatureStore
    verdict: list[float]

    @property
    def best(self) -> int:
        """The lower rate on a tie."""
        return self.verdict.index(max(self.verdict))


class Probe(NamedTuple):
    """A probe's logits for a test set, how its learning rate was found, and how good it was there."""

    logits: Float[Tensor, "n c"]
    learning_rate: float
    verdict: float

    @property
    def prediction(self) -> Int[Tensor, " n"]:
        return self.logits.argmax(1)


def probe(
    train: FeatureStore,
    test: FeatureStore,
    seed: int,
    recipe: Recipe = RECIPE,
    variant: Variant = "clean",
    metric: Metric = accuracy,
) -> Probe:
    """Return the probe's logits for every labelled row of `test`.

    The best of a trial names the learning rate with which a new head is trained on all of `train`. If `clean`, that
    head alone reads `test`, once.
    """
    train, test = train.labelled(), test.labelled()
    found = trial(train, test, seed, recipe, variant, metric)
    rate = recipe.learning_rates[found.best]
    alone = recipe._replace(learning_rates=(rate,))
    final = fit(train.features, train.label, int(train.label.max()) + 1, seed, alone)
    return Probe(final.scores(test.features), rate, found.verdict[found.best])


def trial(
    train: FeatureStore, test: FeatureStore, seed: int, recipe: Recipe, variant: Variant, metric: Metric
) -> Trial:
    """Every learning rate, trained and judged where this variant has it; all rows have labels."""
    _check(train.label)
    rows, judge = split(train, test, seed, variant)
    heads = fit(train.features, train.label, int(train.label.max()) + 1, seed, recipe, rows)
    rates = range(len(recipe.learning_rates))
    return Trial(heads, judge, [metric(heads.scores(judge.features, i), judge.label) for i in rates])


def _check(label: Int[Tensor, " n"]) -> None:
    if len(label) < 2:
        raise UserError(f"a linear probe needs labels, but {len(label)} training rows have one")
    if (label == label[0]).all():
        raise UserError(f"a linear probe needs two classes or more, but all labels of train are {label[0]}")
