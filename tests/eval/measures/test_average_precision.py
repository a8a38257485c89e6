"""Average precision under weights beside that of repeated images, and its intervals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.metrics import average_precision_score
from sslab.eval.measures import average_precision as module
from sslab.eval.measures.average_precision import average_precision, resampled, weighted
from sslab.eval.measures.classification import eleven_points


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), ties=st.booleans())
def test_weights_are_repetitions(seed, ties):
    draw = torch.Generator().manual_seed(seed)
    score = torch.randn(12, generator=draw)
    score = (2 * score).round() if ties else score
    target = torch.rand(12, generator=draw) < 0.4
    target[0] = True
    times = torch.randint(3, (5, 12), generator=draw)
    times[:, 0] += 1
    for row, found in zip(times, weighted(score, target, times.double()).T, strict=True):
        s, t = score.repeat_interleave(row), target.repeat_interleave(row)
        assert found.tolist() == pytest.approx([eleven_points(s[:, None], t[:, None]).item(), average_precision(s, t)])


def test_without_a_target_there_is_no_precision():
    score, target = torch.tensor([3.0, 2, 1]), torch.tensor([False, True, False])
    times = torch.tensor([[1.0, 0, 1], [1, 1, 0]], dtype=torch.float64)
    found = weighted(score, target, times)
    assert found[:, 0].isnan().all()
    assert found[:, 1].tolist() == [0.5, 0.5]


def test_intervals_are_those_of_scipy(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(-1, 2, (80, 1), generator=draw)
    score = label + torch.randn(80, 1, generator=draw)
    known = label[:, 0] >= 0
    low, high = np.quantile(resampled(score, label, 0)[1], (0.025, 0.975))
    pairs = score[known, 0].numpy(), label[known, 0].numpy()
    interval = bootstrap(
        pairs,
        lambda s, y: average_precision_score(y, s),
        paired=True,
        vectorized=False,
        n_resamples=500,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(interval), abs=0.03)
    whole = resampled(score, label, 0)
    monkeypatch.setattr(module, "CELLS", 80 * 300)
    torch.testing.assert_close(resampled(score, label, 0), whole)
