"""The quality of a classifier's logits: one number each."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Metric = Callable[[Float[Tensor, "n c"], Int[Tensor, " n"]], float]
Name = Literal["accuracy", "mean_per_class", "voc_map"]


def accuracy(logits: Float[Tensor, "n c"], label: Int[Tensor, " n"]) -> float:
    return (logits.argmax(1) == label).double().mean().item()


def mean_per_class(logits: Float[Tensor, "n c"], label: Int[Tensor, " n"]) -> float:
    """The mean over classes of their accuracies."""
    return class_weighted(logits.argmax(1) == label, label).mean().item()


def class_weighted(hit: Bool[Tensor, " n"], label: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Hits with weights n / (classes · size of the class), whose mean is the mean over classes."""
    _, place, size = label.unique(return_inverse=True, return_counts=True)
    return hit * (len(label) / (len(size) * size.double()))[place]


def voc_map(logits: Float[Tensor, "n c"], label: Int[Tensor, " n"]) -> float:
    """The mean over classes, one against the rest, of the 11-point average precision of their probabilities.

    A class that the classifier does not know has 0.
    """
    each = eleven_points(logits.log_softmax(1), label[:, None] == torch.arange(logits.shape[1]))
    return each.nansum().item() / len(label.unique())


def eleven_points(score: Float[Tensor, "n c"], target: Bool[Tensor, "n c"]) -> Float[Tensor, " c"]:
    """Average precision by class, (1 / 11) Σ_t max precision at a recall of t or more, t = 0, 0.1, …, 1.

    So did VOC 2007 (Everingham et al., 2010). Equal scores are one threshold. An image may be of several classes; a
    class that no image is of has NaN.
    """
    return torch.tensor([_eleven_points(*pair) for pair in zip(score.nan_to_num().T, target.T, strict=True)])


def _eleven_points(score: Float[Tensor, " n"], target: Bool[Tensor, " n"]) -> float:
    from sklearn.metrics import precision_recall_curve  # slow to import

    if not target.any():
        return math.nan
    precision, recall, _ = precision_recall_curve(target, score)
    precision, recall = precision[:-1], recall[:-1]  # without the point (1, 0), which no threshold has
    return float(np.mean([precision[recall >= t / 10 - 1e-9].max() for t in range(11)]))


METRICS: Mapping[Name, Metric] = {"accuracy": accuracy, "mean_per_class": mean_per_class, "voc_map": voc_map}
