import pytest
import torch
from sslab.eval.measures.bootstrap import interval, paired
from sslab.ssl.core.errors import UserError
from torch import Tensor


def hits(n: int, share: float, seed: int = 0) -> Tensor:
    return (torch.rand(n, generator=torch.Generator().manual_seed(seed)) < share).float()


def test_interval_of_hits_is_that_of_the_binomial():
    found = interval(hits(4000, 0.7))
    error = 1.96 * (found.mean * (1 - found.mean) / 4000) ** 0.5
    assert found.mean == pytest.approx(0.7, abs=0.02)
    assert found.mean - found.low == pytest.approx(error, rel=0.1)
    assert found.high - found.mean == pytest.approx(error, rel=0.1)


def test_95_of_100_intervals_hold_the_truth():
    held = [found.low <= 0.4 <= found.high for found in (interval(hits(200, 0.4, seed)) for seed in range(100))]
    assert 88 <= sum(held) <= 100


def test_same_seed_same_interval():
    score = torch.rand(300, generator=torch.Generator().manual_seed(0))
    assert interval(score) == interval(score)
    assert interval(score) != interval(score, seed=1)


def test_certain_scores_leave_no_interval():
    assert interval(torch.ones(50)) == (1, 1, 1)


def test_pairs_tell_apart_what_two_intervals_do_not():
    better = hits(1000, 0.7)
    worse = better.clone()
    worse[better.nonzero()[:15, 0]] = 0
    a, b = interval(better), interval(worse)
    assert a.low < b.high
    found = paired(better, worse)
    assert found.difference == pytest.approx(0.015)
    assert 0 < found.low < found.high
    assert found.p < 0.01
    assert paired(worse, better).difference == pytest.approx(-0.015)


def test_equal_models_do_not_differ():
    score = hits(100, 0.5)
    assert paired(score, score) == (0, 0, 0, 1)
    found = paired(hits(500, 0.5), hits(500, 0.5, seed=1))
    assert found.low < 0 < found.high
    assert found.p > 0.05


@pytest.mark.parametrize("score", [torch.tensor([1.0]), torch.tensor([1.0, float("nan"), 0.0])])
def test_refusals(score):
    with pytest.raises(UserError, match="a bootstrap needs two finite scores or more"):
        interval(score)
