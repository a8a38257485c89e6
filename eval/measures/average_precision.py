"""Average precision of scores, in one test set and in many that are drawn from it."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from ...ssl.core.draws import mix

RESAMPLES = 1000
CELLS = 1 << 22  # weights at a time
RECALLS = torch.arange(11, dtype=torch.float64) / 10 - 1e-9


def average_precision(score: Float[Tensor, " n"], target: Bool[Tensor, " n"]) -> float:
    """Σ_k (recall_k − recall_k−1) precision_k over all thresholds k."""
    from sklearn.metrics import average_precision_score  # slow to import

    return float(average_precision_score(target, score))


def resampled(score: Float[Tensor, "n c"], label: Int[Tensor, "n c"], seed: int) -> Float64[Tensor, "2 r"]:
    """The means over classes of `weighted` in RESAMPLES test sets that are drawn from this one with replacement.

    Label 1 is what is to be found, and an image of label -1 has no part in that class. A class has no part in a test
    set where there is nothing of it to be found.
    """
    draw, n = np.random.default_rng(mix(seed)), len(label)
    means = []
    for some in torch.arange(RESAMPLES).split(max(1, CELLS // n)):
        times = torch.from_numpy(draw.multinomial(n, np.full(n, 1 / n), len(some))).double()
        each = [weighted(s, y == 1, times * (y >= 0)) for s, y in zip(score.T, label.T, strict=True)]
        means.append(torch.stack(each).nanmean(0))
    return torch.cat(means, 1)


def weighted(
    score: Float[Tensor, " n"], target: Bool[Tensor, " n"], times: Float64[Tensor, "r n"]
) -> Float64[Tensor, "2 r"]:
    """Average precision of 11 points, and the ordinary one, in r test sets that have each image so many times.

    Equal scores are one threshold. Where there is no target both are NaN.
    """
    order = score.argsort(descending=True)
    ends = torch.cat([score[order].diff() != 0, torch.ones(1, dtype=torch.bool)])
    hits, seen = ((times * which)[:, order].cumsum(1)[:, ends] for which in (target, 1))
    precision, recall = hits / seen.clamp(min=1), hits / hits[:, -1:]
    best = precision.flip(1).cummax(1).values.flip(1)  # at this recall or more
    place = torch.searchsorted(recall, RECALLS.repeat(len(recall), 1)).clamp(max=recall.shape[1] - 1)
    steps = recall.diff(dim=1, prepend=torch.zeros_like(recall[:, :1]))
    both = torch.stack([best.gather(1, place).mean(1), (steps * precision).sum(1)])
    return both.where(hits[:, -1] > 0, torch.nan)
