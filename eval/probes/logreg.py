"""Logistic regression by full-batch L-BFGS, its penalty chosen on a part of train."""

import logging
from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..measures.classification import Metric, accuracy
from ..measures.moments import mean
from .held_out import Variant, split

PENALTIES = tuple(10 ** (6 - i / 4) for i in range(45))  # 1 / C of Oquab et al. (2024)
CHUNK = 16_384  # rows at a time
CURVED = 16_384  # rows that tell the curvature, which only decides how fast the minimum is found
KEPT = 1 << 26  # numbers that are kept centred and in full precision; of more, CHUNK by CHUNK
ITERATIONS = 1000
HISTORY = 20
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-5}  # of the gradient by V: the value is off by its square
LIMIT = 1  # SciPy's status for too many iterations
log = logging.getLogger(__name__)


class Classifier(NamedTuple):
    """Softmax of x W + b."""

    weight: Float[Tensor, "d c"]
    bias: Float[Tensor, " c"]

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        chunks = features.split(CHUNK)
        return torch.cat([torch.addmm(self.bias, chunk.to(self.weight), self.weight) for chunk in chunks])


class Regression(NamedTuple):
    """A regression's logits for a test set, how its penalty was found, and how good it was there."""

    logits: Float[Tensor, "n c"]
    penalty: float
    verdict: float

    @property
    def prediction(self) -> Int[Tensor, " n"]:
        return self.logits.argmax(1)


def asked_for(penalties: Sequence[float] | None, otherwise: Sequence[float]) -> Sequence[float]:
    """The penalties to try."""
    if penalties is not None and not (penalties and min(penalties) > 0):
        raise UserError(f"logistic regression with penalties={list(penalties)}: expected numbers above 0")
    return otherwise if penalties is None else penalties


def logreg(
    train: FeatureStore,
    test: FeatureStore,
    seed: int,
    penalties: Sequence[float] = PENALTIES,
    dtype: torch.dtype = torch.float64,
    variant: Variant = "clean",
    metric: Metric = accuracy,
) -> Regression:
    """Return the regression's logits for every labelled row of `test`; features are taken as they are.

    Every penalty is tried where candidates are trained; the one that does best where they are judged (the higher on a
    tie) is the penalty of a regression on all of `train`. If `clean`, that regression alone reads `test`, once.
    """
    train, test = train.labelled(), test.labelled()
    rows, judge = split(train, test, seed, variant)
    found = {
        penalty: metric(classifier.logits(judge.features), judge.label)
        for penalty, classifier in path(train.features[rows], train.label[rows], penalties, dtype)
    }
    best = max(found, key=lambda penalty: (found[penalty], penalty))
    ((_, classifier),) = path(train.features, train.label, [best], dtype)
    return Regression(classifier.logits(test.features), best, found[best])


def path(
    features: Float[Tensor, "n d"], label: Int[Tensor, " n"], penalties: Sequence[float], dtype: torch.dtype
) -> Iterator[tuple[float, Classifier]]:
    """The minimum of Σ_i CE(x_i W + b, y_i) + λ/2 ‖W‖² for each λ, from the highest down, each begun at the last."""
    if len(label.unique()) < 2:
        raise UserError(f"logistic regression needs two classes or more, but all {len(label)} labels are the same")
    objective = Objective(features, label, dtype)
    weight = torch.zeros(features.shape[1], int(label.max()) + 1, dtype=dtype)
    found = Classifier(weight, weight[0].clone())
    for penalty in sorted(penalties, reverse=True):
        found = minimise(objective, penalty / len(label), found)
        yield penalty, Classifier(found.weight, found.bias - objective.mean @ found.weight)


def minimise(objective: "Objective", decay: float, start: Classifier) -> Classifier:
    """L-BFGS from a start, in the coordinates V = Lᵀ W, where L Lᵀ is about the curvature there.

    So directions in which the features vary much and little are found equally fast; the minimum is the same.
    """
    from scipy.optimize import minimize  # slow to import, and only needed here

    root = torch.linalg.cholesky(objective.curvature(start, decay)).to(start.weight)

    def unpack(flat: np.ndarray) -> Classifier:
        rows = torch.from_numpy(flat).to(root).view(-1, len(start.bias))  # V, then b
        return Classifier(torch.linalg.solve_triangular(root.T, rows[:-1], upper=True), rows[-1])

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = objective(unpack(flat), decay)
        return loss.item(), _flat(torch.linalg.solve_triangular(root, slope.weight, upper=False), slope.bias)

    begin = _flat(root.T @ start.weight, start.bias)
    stop = {"maxiter": ITERATIONS, "maxfun": 10 * ITERATIONS, "gtol": TOLERANCE[root.dtype], "ftol": 0}
    end = minimize(value_and_gradient, begin, jac=True, method="L-BFGS-B", options={"maxcor": HISTORY, **stop})
    if end.status == LIMIT:
        log.warning("logistic regression, decay %.1e: still moving after %d iterations", decay, ITERATIONS)
    return unpack(end.x)


def _flat(weight: Float[Tensor, "d c"], bias: Float[Tensor, " c"]) -> np.ndarray:
    return torch.cat([weight.flatten(), bias]).double().numpy()


class Objective:
    """Mean cross-entropy of centred features plus decay/2 ‖W‖², by chunks of rows."""

    def __init__(self, features: Float[Tensor, "n d"], label: Int[Tensor, " n"], dtype: torch.dtype) -> None:
        self.label, self.mean, self.kept = label, mean(features).to(dtype), features.numel() <= KEPT
        self.features = features.to(dtype).sub_(self.mean) if self.kept else features

    def __call__(self, at: Classifier, decay: float) -> tuple[Float[Tensor, ""], Classifier]:
        """The value and its gradient."""
        loss, slope, slope_bias = decay / 2 * at.weight.square().sum(), decay * at.weight, torch.zeros_like(at.bias)
        for x, y, logits in self._chunks(at):
            loss = loss + cross_entropy(logits.double(), y, reduction="sum") / len(self.label)  # or the search stumbles
            error = logits.softmax(1)
            error[torch.arange(len(y)), y] -= 1
            slope.addmm_(x.T, error, alpha=1 / len(self.label))
            slope_bias += error.sum(0) / len(self.label)
        return loss, Classifier(slope, slope_bias)

    def curvature(self, at: Classifier, decay: float) -> Float[Tensor, "d d"]:
        """Mean over classes of the second derivative by the weights of one class, from some rows, in float64."""
        x = self.features[:: ceil(len(self.label) / CURVED)]
        x = x if self.kept else x.to(at.weight) - self.mean
        p = torch.addmm(at.bias, x, at.weight).softmax(1)
        weighted = x * (p * (1 - p)).mean(1, keepdim=True)
        return decay * torch.eye(len(at.weight), dtype=torch.float64) + (x.T @ weighted).double() / len(x)

    def _chunks(self, at: Classifier) -> Iterator[tuple[Float[Tensor, "b d"], Int[Tensor, " b"], Float[Tensor, "b c"]]]:
        """Centred features, labels and logits."""
        for x, y in zip(self.features.split(CHUNK), self.label.split(CHUNK), strict=True):
            x = x if self.kept else x.to(at.weight) - self.mean
            yield x, y, torch.addmm(at.bias, x, at.weight)
