import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.losses.logsumexp import EMPTY, log_sum_exp, zero_if_empty
from torch import Tensor


def sample(n: int, m: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, column = (5 * torch.randn(size, 3, generator=generator, dtype=torch.float64) for size in (n, m))
    return query.requires_grad_(), column.requires_grad_(), torch.rand(n, m, generator=generator) < 0.4


def dense(query: Tensor, column: Tensor, mask: Tensor) -> Tensor:
    return (query @ column.T).masked_fill(mask, -torch.inf).logsumexp(dim=1)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 9), m=st.integers(1, 9), chunk=st.integers(1, 100), seed=st.integers(0, 1000))
def test_value_and_gradient_are_those_of_the_whole_product(n, m, chunk, seed):
    query, column, mask = sample(n, m, seed)
    mask[:, 0] = False
    upstream = torch.arange(1.0, n + 1, dtype=torch.float64)
    expected = dense(query, column, mask)
    result = log_sum_exp(query, column, mask.__getitem__, chunk)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(value, (query, column), upstream) for value in (result, expected))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_gradcheck():
    query, column, mask = sample(4, 6)
    assert torch.autograd.gradcheck(lambda q, c: log_sum_exp(q / 5, c / 5, mask.__getitem__, 7), (query, column))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_without_columns_is_empty_and_has_no_gradient(dtype):
    query, column = torch.ones(2, 3, dtype=dtype, requires_grad=True), torch.ones(4, 3, dtype=dtype, requires_grad=True)
    mask = torch.tensor([[True] * 4, [False] * 4])
    result = log_sum_exp(query, column, mask.__getitem__)
    twice = torch.logaddexp(result, result)
    assert result[0] == twice[0] == EMPTY
    assert zero_if_empty(twice)[0] == 0
    twice.sum().backward()
    torch.testing.assert_close(query.grad, torch.tensor([[0.0] * 3, [1.0] * 3], dtype=dtype))
    torch.testing.assert_close(column.grad, torch.full_like(column, 1 / 4))


def test_neither_large_nor_small_products_overflow():
    query = torch.tensor([[1e4], [-1e4]])
    result = log_sum_exp(query, torch.ones(3, 1), lambda part: torch.zeros(len(query[part]), 3, dtype=torch.bool))
    torch.testing.assert_close(result, query[:, 0] + torch.tensor(3.0).log())


def test_constant_columns_get_no_gradient():
    query, column, mask = sample(4, 6)
    log_sum_exp(query, column.detach(), mask.__getitem__).sum().backward()
    assert query.grad is not None
    assert column.grad is None
