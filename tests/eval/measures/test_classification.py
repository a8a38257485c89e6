import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score
from sslab.eval.measures.classification import accuracy, class_weighted, eleven_points, mean_per_class, voc_map
from torch import Tensor


def draw(n: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, classes, generator=generator), torch.randint(classes, (n,), generator=generator)


def test_by_hand():
    """Right: both images of class 0 and one of four of class 1."""
    label = torch.tensor([0, 0, 1, 1, 1, 1])
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 0, 2, 2]), 3).double()
    assert accuracy(logits, label) == pytest.approx(3 / 6)
    assert mean_per_class(logits, label) == pytest.approx((1 + 1 / 4) / 2)
    assert class_weighted(logits.argmax(1) == label, label).tolist() == pytest.approx([1.5, 1.5, 0.75, 0, 0, 0])


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_mean_per_class_is_scikit_learns_mean_recall(seed):
    logits, label = draw(30, 4, seed)
    expected = recall_score(label, logits.argmax(1), labels=label.unique(), average="macro")
    assert mean_per_class(logits, label) == pytest.approx(expected, abs=1e-12)


def test_eleven_points_by_hand():
    """Hits at ranks 1, 3 and 4 of 5: precision 1 up to a recall of 1/3, then 3/4 for the other 7 points."""
    score = torch.tensor([[5.0], [4], [3], [2], [1]])
    target = torch.tensor([[True], [False], [True], [True], [False]])
    assert eleven_points(score, target).item() == pytest.approx((4 * 1 + 7 * 3 / 4) / 11)
    assert eleven_points(score, ~target & False).isnan().all()


def slowly(score: Tensor, target: Tensor) -> float:
    """The definition, over every threshold."""
    points = []
    for threshold in score.unique():
        taken = score >= threshold
        hits = float((taken & target).sum())
        points.append((hits / float(target.sum()), hits / float(taken.sum())))
    return float(np.mean([max(p for r, p in points if r >= t / 10 - 1e-9) for t in range(11)]))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), ties=st.booleans())
def test_eleven_points_equal_the_definition(seed, ties):
    score, _ = draw(12, 3, seed)
    score = (2 * score).round() if ties else score
    target = draw(12, 3, seed + 1)[0] > 0
    target[0] = True
    expected = [slowly(*pair) for pair in zip(score.T, target.T, strict=True)]
    assert eleven_points(score, target).tolist() == pytest.approx(expected)


def test_voc_map_is_a_mean_over_the_classes_that_are_there():
    logits, label = draw(40, 3)
    label[label == 2] = 0
    each = eleven_points(logits.log_softmax(1), label[:, None] == torch.arange(3))
    assert voc_map(logits, label) == pytest.approx(each[:2].mean().item())
    assert math.isnan(each[2])
    unknown = torch.cat([label[:-1], torch.tensor([7])])
    left = eleven_points(logits.log_softmax(1), unknown[:, None] == torch.arange(3))
    assert voc_map(logits, unknown) == pytest.approx(left[:2].sum().item() / 3)


def test_certain_logits_are_perfect_and_broken_ones_are_numbers():
    label = torch.arange(20) % 4
    logits = 50 * torch.nn.functional.one_hot(label, 4).float()
    for metric in (accuracy, mean_per_class, voc_map):
        assert metric(logits, label) == pytest.approx(1)
        assert 0 <= metric(torch.full_like(logits, math.nan), label) < 1
