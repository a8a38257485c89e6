import math

import pytest
import torch
from embeddings import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.losses.ops.sinkhorn import sinkhorn
from torch import Tensor


def by_loops(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The definition, with sums of exponentials: each prototype's share is made 1 / c, then each sample's 1 / n."""
    n, c = scores.shape
    q = [[math.exp(score / epsilon) for score in row] for row in scores.tolist()]
    for _ in range(iterations):
        for j in range(c):
            share = sum(q[i][j] for i in range(n))
            for i in range(n):
                q[i][j] /= share * c
        for i in range(n):
            share = sum(q[i])
            q[i] = [value / (share * n) for value in q[i]]
    return n * torch.tensor(q, dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 6),
    c=st.integers(1, 6),
    epsilon=st.floats(0.05, 2),
    iterations=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition(n: int, c: int, epsilon: float, iterations: int, seed: int) -> None:
    scores = normal(n, c, seed=seed)
    expected = by_loops(scores, epsilon, iterations)
    torch.testing.assert_close(sinkhorn(scores, epsilon, iterations), expected, rtol=1e-10, atol=1e-12)


def test_rows_sum_to_one_and_in_the_limit_prototypes_are_used_equally() -> None:
    scores = normal(12, 5)
    for iterations in (1, 3, 500):
        q = sinkhorn(scores, 0.3, iterations)
        torch.testing.assert_close(q.sum(dim=1), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(q.sum(dim=0), torch.full((5,), 12 / 5, dtype=torch.float64))


def test_what_all_samples_share_is_immaterial_and_in_the_limit_what_all_prototypes_share() -> None:
    scores, of_prototypes, of_samples = normal(6, 4), normal(1, 4, seed=2), normal(6, 1, seed=1)
    torch.testing.assert_close(sinkhorn(scores + of_prototypes, 0.3, 3), sinkhorn(scores, 0.3, 3))
    torch.testing.assert_close(sinkhorn(scores + of_samples, 0.3, 500), sinkhorn(scores, 0.3, 500))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_equal_scores_make_uniform_assignments(n: int) -> None:
    torch.testing.assert_close(sinkhorn(torch.ones(n, 4), 0.05, 3), torch.full((n, 4), 0.25))


def test_large_scores_do_not_overflow() -> None:
    q = sinkhorn(1e4 * torch.eye(3), 0.05, 3)
    torch.testing.assert_close(q, torch.eye(3))


def test_a_row_of_minus_infinity_takes_no_part() -> None:
    scores = normal(6, 4)
    left_out = scores.clone()
    left_out[[1, 4]] = -torch.inf
    q = sinkhorn(left_out, 0.1, 3)
    rest = [0, 2, 3, 5]
    torch.testing.assert_close(q[rest], sinkhorn(scores[rest], 0.1, 3))
    assert q[[1, 4]].abs().max() == 0


def test_its_argument_is_left_as_it_is() -> None:
    scores = normal(3, 4)
    before = scores.clone()
    sinkhorn(scores, 1.0, 3)
    assert torch.equal(scores, before)
