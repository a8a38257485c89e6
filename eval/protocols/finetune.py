"""Accuracy of a linear head that is trained on random views, perhaps with the backbone below it."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from ...ssl.core.errors import UserError
from ..features.extract import Images, known
from ..features.store import FeatureStore
from ..measures.classification import METRICS, Name
from ..probes.held_out import Variant, held_out
from ..probes.label_subsets import digest, share_of_all
from ..reports.results import Row
from .base import Subject, Tuning
from .finetune_recipe import Number, Recipe, predict
from .measured import measured

LEAST = 10  # images of which a tenth is one


class Outcome(NamedTuple):
    """A classifier's logits for the images that could be read, and how it was found."""

    row: Int[Tensor, " n"]
    logits: Float[Tensor, "n c"]
    about: Row


class Tuned(Tuning):
    """A classifier at the end of its training: linear evaluation, few labels and fine-tuning.

    Args:
        name: of the protocol in the results.
        recipe: how the classifier is trained.
        share: of the training set that it sees, of every class the same number of images.
        split: another number draws another share; every seed and every backbone sees the same.
        rates: to choose the peak rate among, on a tenth of what it sees; none: it is `recipe.optim.lr`.
        variant: `published` takes the epoch and the rate that do best on test, as the papers' programs have it.
        metric: what is chosen for and what is told.
    """

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        share: Number = 1.0,
        split: int = 0,
        rates: Sequence[Number] = (),
        variant: Variant = "clean",
        metric: Name = "accuracy",
    ) -> None:
        if not 0 < share <= 1:
            raise UserError(f"protocols.{name}.share is {share}: expected more than 0, at most 1")
        if any(rate <= 0 for rate in rates):
            raise UserError(f"protocols.{name}.rates is {rates}: expected numbers above 0")
        self.name, self.recipe, self.share, self.split, self.rates = name, recipe, share, split, sorted(rates)
        self.variant: Variant = variant
        self.metric: Name = metric

    @property
    def reads(self) -> Sequence[str]:
        return self.recipe.reads

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        super().check(train, test)
        seen = len(self.rows(train))
        if self.rates and seen < LEAST:
            raise UserError(f"protocols.{self.name}.rates are tried on a tenth of {seen} images: give one rate instead")

    def rows(self, train: FeatureStore) -> Int[Tensor, " m"]:
        """Return the rows of the images to train on."""
        train = train.labelled()
        return train.row if self.share == 1 else share_of_all(train.label, train.row, self.share, self.split)

    def __call__(self, subject: Subject, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        assert subject.test is not None, "check refuses it"
        rows, test = self.rows(known(subject.train)), known(subject.test)
        find = self._clean if self.variant == "clean" else self._published
        outcome = find(subject, subject.test, rows, test.labelled().row, seed)
        if not outcome.logits.isfinite().all():
            raise UserError(
                f"{self.name} has diverged at the rate {outcome.about['learning_rate']}: "
                f"lower protocols.{self.name}.recipe.optim.lr"
            )
        used = {
            "share": self.share,
            "trained_on": len(rows),
            "rows": digest(rows),
            "layer": "+".join(self.recipe.reads),
        }
        score = measured(self.metric, outcome.logits, test.take(outcome.row))
        about = {"protocol": f"{self.name}-{self.variant}@1", "seconds": time.perf_counter() - started}
        yield {"metric": f"{self.name}_{self.metric}", **score, **used, **outcome.about, **about}

    def _clean(
        self, subject: Subject, test: Images, rows: Int[Tensor, " m"], tested: Int[Tensor, " n"], seed: int
    ) -> Outcome:
        """Return the outcome of a classifier for which test is read once."""
        about = self._choice(subject, rows, seed) if self.rates else {"learning_rate": self.recipe.optim.lr}
        *_, model = self.recipe.train(subject, rows, seed, about["learning_rate"])
        return Outcome(*predict(model, subject, test, tested), about)

    def _choice(self, subject: Subject, rows: Int[Tensor, " m"], seed: int) -> Row:
        """The rate that does best on a tenth of these rows when trained on the others; the lowest, on a tie."""
        chosen, rest = (rows[part] for part in held_out(len(rows), seed))
        verdict = {}
        for rate in self.rates:
            *_, model = self.recipe.train(subject, rest, seed, rate)
            verdict[rate] = self._verdict(subject.train, *predict(model, subject, subject.train, chosen))
        best = max(verdict, key=lambda rate: verdict[rate])
        return {"learning_rate": best, f"held_out_{self.metric}": verdict[best]}

    def _published(
        self, subject: Subject, test: Images, rows: Int[Tensor, " m"], tested: Int[Tensor, " n"], seed: int
    ) -> Outcome:
        """Return the outcome of the classifier that does best on test, of all rates and epochs; the first, on a tie."""
        outcomes = (
            Outcome(*predict(model, subject, test, tested), {"learning_rate": rate, "epoch": epoch})
            for rate in self.rates or [self.recipe.optim.lr]
            for epoch, model in enumerate(self.recipe.train(subject, rows, seed, rate), 1)
        )
        return max(outcomes, key=lambda outcome: self._verdict(test, outcome.row, outcome.logits))

    def _verdict(self, images: Images, row: Int[Tensor, " n"], logits: Float[Tensor, "n c"]) -> float:
        return METRICS[self.metric](logits, images.label[row]) if logits.isfinite().all() else -math.inf
