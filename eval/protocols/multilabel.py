"""Images of several classes: a regression for each of them."""

import time
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..measures.average_precision import average_precision, resampled
from ..measures.classification import eleven_points
from ..probes.held_out import Variant, split
from ..probes.logreg import asked_for, logreg
from ..reports.results import Row
from .base import Protocol, obstacle
from .factors import Target, each_factor, left_out
from .validate import finite

PENALTIES = tuple(10.0**i for i in range(3, -4, -1))


class MultiLabel(Protocol):
    """Logistic regression of each factor that is 0 or 1, by itself, and the means of their average precisions.

    `multilabel_voc_map` is that of 11 points, by which VOC 2007 is scored (Everingham et al., 2010), `multilabel_map`
    the ordinary one, by which each penalty is chosen; images are ranked by the difference of both logits. An image of
    which a factor is unknown, such as VOC's difficult ones, has no part in that factor. `low` and `high` are of a
    bootstrap over test images. Other factors are left out, with a warning.

    Args:
        penalties: λ of Σ_i CE_i + λ/2 ‖W‖², where W has a column for each of 0 and 1; None: 1000, 100, …, 0.001.
        dtype: of the regression.
        variant: `published` chooses on test, and says so in the protocol's name.
        layers: one after the other.
    """

    def __init__(
        self,
        penalties: Sequence[float] | None = None,
        dtype: Literal["float64", "float32"] = "float64",
        variant: Variant = "clean",
        layers: Sequence[str] = ("h",),
    ) -> None:
        self.penalties = asked_for(penalties, PENALTIES)
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.variant: Variant = variant
        self.layers = layers

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        reasons = [left_out(name, _obstacle(*parts)) for name, *parts in each_factor(train, test)]
        if all(reasons):
            names = ", ".join(train.factor_names)
            raise UserError(f"no factor ({names}) is 0 for some images and 1 for others, in train and in test")

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        factors = self._measurable(finite(train), finite(test), seed)
        how = self.penalties, self.dtype, self.variant, _chosen_for
        found = {name: logreg(known, unknown, seed, *how) for name, known, unknown in factors}
        label = torch.stack([unknown.label for *_, unknown in factors])
        scores = torch.cat([_score(regression.logits) for regression in found.values()])
        score = scores.new_zeros(label.shape).masked_scatter(label >= 0, scores)
        verdict = {"held_out_map": sum(regression.verdict for regression in found.values()) / len(found)}
        about = {
            "penalties": {name: regression.penalty for name, regression in found.items()},
            **(verdict if self.variant == "clean" else {}),
            "protocol": f"multilabel-{self.variant}@1",
        }
        for row in _rows(list(found), score.T, label.T, seed):
            yield {**row, **about, "seconds": time.perf_counter() - started}

    def _measurable(self, train: FeatureStore, test: FeatureStore, seed: int) -> list[Target]:
        """The factors that are 0 or 1, both where candidates are trained and where they are judged."""
        possible = [target for target in each_factor(train, test) if not _obstacle(*target[1:])]
        found = [target for target in possible if not left_out(target[0], self._no_choice(*target[1:], seed))]
        if not found:
            raise UserError(
                "no factor has images enough of 0 and 1 to choose its penalty on a tenth of train: give more"
            )
        return found

    def _no_choice(self, train: FeatureStore, test: FeatureStore, seed: int) -> str | None:
        """Return why the penalty of a factor cannot be chosen, if so."""
        bare = [store._replace(features=store.features[:, :0]).labelled() for store in (train, test)]  # to copy less
        train, test = bare
        rows, judge = split(train, test, seed, self.variant)
        lacks = _obstacle(train.take(rows), judge)
        return lacks and "too few images are 0 or too few are 1 to choose its penalty on a tenth of train"


def _chosen_for(logits: Float[Tensor, "n 2"], label: Int[Tensor, " n"]) -> float:
    return average_precision(_score(logits), label == 1)


def _score(logits: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    return logits[:, 1] - logits[:, 0]


def _obstacle(train: FeatureStore, test: FeatureStore) -> str | None:
    """Return why there is no average precision of this factor, if so."""
    if any((store.label > 1).any() for store in (train, test)):
        return "it has other values than 0 and 1"
    return obstacle(train, test) or (None if (test.label == 1).any() else "it is 0 in all test images")


def _rows(names: Sequence[str], score: Float[Tensor, "n c"], label: Int[Tensor, "n c"], seed: int) -> Iterator[Row]:
    """The means over factors, and how they would vary with the test images."""
    columns = [(s[y >= 0], y[y >= 0] == 1) for s, y in zip(score.T, label.T, strict=True)]
    each = {
        "multilabel_voc_map": [eleven_points(s[:, None], y[:, None]).item() for s, y in columns],
        "multilabel_map": [average_precision(s, y) for s, y in columns],
    }
    n = int((label >= 0).any(1).sum())
    for (metric, values), means in zip(each.items(), resampled(score, label, seed).numpy(), strict=True):
        low, high = map(float, np.nanquantile(means, (0.025, 0.975)))
        spread = {"standard_error": float(np.nanstd(means)), "low": low, "high": high}
        per_class = dict(zip(names, values, strict=True))
        yield {"metric": metric, "value": sum(values) / len(values), **spread, "n": n, "per_class": per_class}
