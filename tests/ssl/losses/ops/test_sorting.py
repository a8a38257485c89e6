import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.losses.ops.sorting import among_lowest
from torch import Tensor

rows = st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=9)


def permutation(x: Tensor, steepness: float) -> Tensor:
    """The doubly stochastic matrix (inputs, ranks) of an odd-even network, one comparator at a time."""
    x, wires = x.clone(), len(x)
    matrix = torch.eye(wires, dtype=x.dtype)
    for layer in range(wires):
        for a in range(layer % 2, wires - 1, 2):
            keep = 0.5 + math.atan(steepness * (x[a + 1] - x[a])) / math.pi
            mix = torch.tensor([[keep, 1 - keep], [1 - keep, keep]], dtype=x.dtype)
            x[a : a + 2] = mix @ x[a : a + 2]
            matrix[:, a : a + 2] = matrix[:, a : a + 2] @ mix
    return matrix


@settings(max_examples=60, deadline=None)
@given(row=rows, steepness=st.floats(0.1, 1000), data=st.data())
def test_it_sums_the_lowest_ranks_of_a_doubly_stochastic_matrix(row, steepness, data):
    count = data.draw(st.integers(1, len(row)))
    x = torch.tensor(row, dtype=torch.float64)
    matrix = permutation(x, steepness)
    ones = torch.ones(len(row), dtype=x.dtype)
    torch.testing.assert_close(matrix.sum(dim=0), ones)
    torch.testing.assert_close(matrix.sum(dim=1), ones)
    share = among_lowest(x[None], count, steepness)[0]
    torch.testing.assert_close(share, matrix[:, :count].sum(dim=1), rtol=1e-12, atol=1e-12)
    assert share.sum().item() == pytest.approx(count)


@settings(max_examples=60, deadline=None)
@given(row=st.lists(st.integers(-9, 9), min_size=2, max_size=9, unique=True), data=st.data())
def test_a_steep_network_sorts(row, data):
    count = data.draw(st.integers(1, len(row)))
    share = among_lowest(torch.tensor([row], dtype=torch.float64), count, steepness=1e9)[0]
    lowest = sorted(row)[:count]
    assert share.tolist() == pytest.approx([float(value in lowest) for value in row], abs=1e-6)


def test_rows_are_sorted_apart_and_equal_inputs_share_the_ranks():
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    first = 0.5 + math.atan(1) / math.pi
    expected = torch.tensor([[first, 1 - first], [1 - first, first], [0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(among_lowest(x, 1, 1.0), expected)


def test_gradient_is_that_of_the_value(golden):
    x = golden[:2].flatten(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: among_lowest(x, 5, 1.0), x)
