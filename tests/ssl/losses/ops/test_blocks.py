import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.losses.ops.blocks import in_blocks
from torch import Tensor


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def sums(part: slice, query: Tensor, scale: Tensor, key: Tensor) -> Tensor:
    logits = query @ key.T * scale[:, None]
    return torch.stack([logits.logsumexp(dim=1), logits.square().sum(dim=1)], dim=1)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 7), m=st.integers(1, 5), rows=st.integers(0, 9))
def test_value_and_gradients_are_those_of_the_whole(n, m, rows):
    given_ = normal(n, 3), normal(n, seed=1), normal(m, 3, seed=2)
    upstream = normal(n, 2, seed=3)
    results = [in_blocks(sums, given_[:2], given_[2:], rows), sums(slice(None), *given_)]
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(result, given_, upstream) for result in results]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)


def test_no_more_rows_are_ever_formed_than_are_allowed():
    formed = []

    def products(part: slice, query: Tensor, key: Tensor) -> Tensor:
        formed.append((part.start, len(query)))
        return (query @ key.T).sum(dim=1)

    in_blocks(products, [normal(7, 3)], [normal(5, 3, seed=1)], 3).sum().backward()
    assert formed == 2 * [(0, 3), (3, 3), (6, 1)]  # forward, and again backward


def test_a_constant_gets_no_gradient_and_costs_the_others_nothing():
    query, key = normal(4, 3), normal(5, 3, seed=1).detach()
    in_blocks(lambda part, q, k: (q @ k.T).sum(dim=1), [query], [key], 2).sum().backward()
    assert key.grad is None
    torch.testing.assert_close(query.grad, key.sum(dim=0).expand(4, -1))
