"""One ranking of all pairs, beside scikit-learn, and its resampling beside doing just that."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score
from sslab.eval.neighbours.pair_ranking import (
    Pairs,
    best,
    micro,
    micro_average_precision,
    recall_at_precision,
    weighted,
)
from sslab.eval.neighbours.retrieval import Rankings
from torch import Tensor


def draw(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, generator=generator), torch.rand(n, generator=generator) < 0.3


def test_micro_average_precision_is_that_of_scikit_learn_where_nothing_ties():
    score, correct = draw(300)
    found = micro_average_precision(score, correct, int(correct.sum())).item()
    assert found == pytest.approx(average_precision_score(correct, score))
    assert micro_average_precision(score, correct, 2 * int(correct.sum())).item() == pytest.approx(found / 2)


def test_equal_scores_are_read_against_the_model():
    correct = torch.tensor([True, False, True, False, False])
    worst = micro_average_precision(torch.tensor([2.0, 5, 1, 4, 3]), correct, 2).item()
    assert micro_average_precision(torch.ones(5), correct, 2).item() == worst == pytest.approx((1 / 4 + 2 / 5) / 2)


def test_recall_at_precision():
    score, correct = torch.tensor([5.0, 4, 3, 2, 1]), torch.tensor([True, True, False, True, True])
    assert recall_at_precision(score, correct, 5, least=0.9).item() == pytest.approx(0.4)
    assert recall_at_precision(score, correct, 5, least=0.8).item() == pytest.approx(0.8)
    assert recall_at_precision(score, ~correct, 1, least=0.9).item() == 0
    assert math.isclose(recall_at_precision(torch.ones(5), correct, 5, least=0.8).item(), 0.8, rel_tol=1e-6)


def predictions(queries: int = 7, each: int = 30) -> tuple[Pairs, Tensor]:
    """Some of equal score, and some true pairs that are not among them."""
    score, correct = draw(queries * each)
    pairs = Pairs(torch.arange(queries).repeat_interleave(each), (score * 40).round(), correct)
    return pairs, correct.view(queries, each).sum(1) + torch.arange(queries) % 2


def values(pairs: Pairs, positives: int) -> list[float]:
    found = (f(pairs.score, pairs.correct, positives) for f in (micro_average_precision, recall_at_precision))
    return [value.item() for value in found]


def test_the_best_of_each_query_without_junk():
    relevance = torch.tensor([[-1, 1, 0, 1], [0, 0, -1, 1]])
    found = Rankings(torch.tensor([4, 5]), torch.arange(8.0).view(2, 4), relevance)
    pairs = best(found, 2)
    assert pairs.query.tolist() == [4, 4, 5, 5]
    assert pairs.score.tolist() == [1, 2, 4, 5]
    assert pairs.correct.tolist() == [True, False, False, False]
    assert best(found, None).score.tolist() == [1, 2, 3, 4, 5, 7]


def test_queries_of_weight_one_are_the_ranking_and_of_weight_zero_are_not_there(monkeypatch):
    pairs, positives = predictions()
    some = torch.tensor([1, 0, 1, 1, 0, 0, 1])
    for cells in (1 << 22, 1):
        monkeypatch.setattr("sslab.eval.neighbours.pair_ranking.CELLS", cells)
        average, recall = weighted(pairs, positives, torch.stack([torch.ones(7), some.float()]))
        kept = some[pairs.query] > 0
        part = Pairs(*(field[kept] for field in pairs))
        assert [average[0].item(), recall[0].item()] == pytest.approx(values(pairs, int(positives.sum())))
        assert [average[1].item(), recall[1].item()] == pytest.approx(values(part, int(positives[some > 0].sum())))


def test_a_query_drawn_twice_is_twice_there():
    """Where no two scores are equal, a pair and its copy are one threshold."""
    score, correct = draw(60, seed=1)
    pairs = Pairs(torch.arange(60) % 4, score, correct)
    positives = torch.tensor([correct[i::4].sum() for i in range(4)])
    weight = torch.tensor([2.0, 0, 1, 3])
    copies = weight.long()[pairs.query]
    expected = average_precision_score(correct.repeat_interleave(copies), score.repeat_interleave(copies))
    assert weighted(pairs, positives, weight[None])[0].item() == pytest.approx(expected)


def test_without_a_hit_there_is_nothing():
    pairs, positives = predictions()
    none = pairs._replace(correct=torch.zeros_like(pairs.correct))
    assert list(micro(none, positives, 0).values()) == [(0, 0, 0)] * 2


def test_intervals_hold_the_values_and_shrink():
    found, again = (micro(*predictions(), 0) for _ in range(2))
    assert found == again
    assert list(found) == ["micro_ap", "recall_at_p90"]
    pairs, positives = predictions()
    assert [value for value, *_ in found.values()] == values(pairs, int(positives.sum()))
    wide, narrow = (micro(*predictions(n), 0)["micro_ap"] for n in (20, 320))
    assert wide.low < wide.mean < wide.high
    assert narrow.high - narrow.low < (wide.high - wide.low) / 2
    sure = Pairs(torch.arange(5), torch.arange(5.0), torch.ones(5, dtype=torch.bool))
    assert micro(sure, torch.ones(5, dtype=torch.long), 0) == dict.fromkeys(found, (1, 1, 1))
