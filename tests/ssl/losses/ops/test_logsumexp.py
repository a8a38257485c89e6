import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.losses.ops.logsumexp import EMPTY, Moments, moments, zero_if_empty
from torch import Tensor


def sample(n: int, m: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, column = (torch.randn(size, 3, generator=generator, dtype=torch.float64) for size in (n, m))
    scale = 5 * torch.rand(n, generator=generator, dtype=torch.float64)
    scale[0] = 0
    mask = torch.rand(n, m, generator=generator) < 0.4
    return query.requires_grad_(), column.requires_grad_(), scale.requires_grad_(), mask


def dense(query: Tensor, column: Tensor, scale: Tensor, mask: Tensor) -> Moments:
    similarity = query @ column.T
    logits = (scale[:, None] * similarity).masked_fill(mask, -torch.inf)
    return Moments(logits.logsumexp(1), (logits.softmax(1) * similarity).sum(1), (~mask).sum(1).double())


def chunked(query: Tensor, column: Tensor, scale: Tensor, mask: Tensor, chunk: int, log_sum_only: bool) -> Moments:
    return moments(query, column, scale, lambda part, _: mask[part], chunk, log_sum_only)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 9),
    m=st.integers(1, 9),
    chunk=st.integers(1, 100),
    seed=st.integers(0, 1000),
    brief=st.booleans(),
    learned=st.booleans(),
)
def test_values_and_gradients_are_those_of_the_whole_product(n, m, chunk, seed, brief, learned):
    query, column, scale, mask = sample(n, m, seed)
    mask[:, 0] = False
    expected = dense(query, column, scale, mask)
    result = chunked(query, column, scale if learned else scale.detach(), mask, chunk, brief)
    upstream = torch.arange(1.0, n + 1, dtype=torch.float64)
    inputs = (query, column, scale) if learned else (query, column)
    for field in ("log_sum",) if brief else ("log_sum", "mean"):
        value, reference = getattr(result, field), getattr(expected, field)
        torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-12)
        gradients = (torch.autograd.grad(x, inputs, upstream, retain_graph=True) for x in (value, reference))
        torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)
    assert brief or torch.equal(result.number, expected.number)


def test_both_moments_together_have_the_gradient_of_both():
    query, column, scale, mask = sample(4, 6)
    mask[:, 0] = False
    assert torch.autograd.gradcheck(lambda *x: chunked(*x, mask, 7, False)[:2], (query, column, scale))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_without_columns_is_empty_and_has_no_gradient(dtype):
    query, column = torch.ones(2, 3, dtype=dtype, requires_grad=True), torch.ones(4, 3, dtype=dtype, requires_grad=True)
    mask = torch.tensor([[True] * 4, [False] * 4])
    log_sum, mean, count = chunked(query, column, torch.ones(2, dtype=dtype), mask, 8, False)
    twice = torch.logaddexp(log_sum, log_sum)
    assert log_sum[0] == twice[0] == EMPTY
    assert zero_if_empty(twice)[0] == mean[0] == 0
    assert count.tolist() == [0, 4]
    twice.sum().backward()
    torch.testing.assert_close(query.grad, torch.tensor([[0.0] * 3, [1.0] * 3], dtype=dtype))
    torch.testing.assert_close(column.grad, torch.full_like(column, 1 / 4))


def test_neither_large_nor_small_products_overflow():
    query = torch.tensor([[1e4], [-1e4]])
    result = chunked(query, torch.ones(3, 1), torch.ones(2), torch.zeros(2, 3, dtype=torch.bool), 2, True)
    torch.testing.assert_close(result.log_sum, query[:, 0] + torch.tensor(3.0).log())


def test_constant_columns_get_no_gradient():
    query, column, scale, mask = sample(4, 6)
    chunked(query, column.detach(), scale.detach(), mask, 7, True).log_sum.sum().backward()
    assert query.grad is not None
    assert column.grad is None
    assert scale.grad is None


def test_what_is_excluded_may_depend_on_the_similarity():
    query, column, scale, _ = sample(5, 6)
    negative = query @ column.T < 0
    expected = dense(query[1:], column, scale[1:], negative[1:])
    result = moments(query[1:], column, scale[1:], lambda _, similarity: similarity < 0, 7)
    torch.testing.assert_close(result.log_sum.clamp_min(EMPTY), expected.log_sum.clamp_min(EMPTY))
