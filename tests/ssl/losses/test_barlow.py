import pytest
import torch
from embeddings import siamese
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.losses.barlow import BarlowTwins
from torch.nn.functional import normalize


def test_golden(golden):
    step = siamese(normalize(golden[:2], dim=-1))
    output = BarlowTwins()(step)
    assert output.total.item() == pytest.approx(3.245260059, abs=1e-9)
    assert BarlowTwins(scale=0.1)(step).total.item() == pytest.approx(0.3245260059, abs=1e-10)
    by_hand = output.terms["invariance"] + 0.0051 * output.terms["redundancy"]
    torch.testing.assert_close(output.total, by_hand)


def test_it_is_the_correlation_across_views(golden):
    a, b = golden[:2]
    correlation = torch.corrcoef(torch.cat([a, b], dim=1).T)[:3, 3:]
    square = (correlation - torch.eye(3)).square()
    expected = square.diagonal().sum() + 0.2 * (square.sum() - square.diagonal().sum())
    torch.testing.assert_close(BarlowTwins(off_diagonal=0.2)(siamese(golden[:2])).total, expected, rtol=1e-4, atol=0)


def test_equal_views_with_uncorrelated_dimensions_are_the_minimum():
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert BarlowTwins()(siamese(torch.stack([signs, signs]))).total.item() == pytest.approx(0, abs=1e-9)
    redundant = signs[:, :1].expand(4, 2)
    total = BarlowTwins(off_diagonal=0.3)(siamese(torch.stack([redundant, redundant]))).total
    assert total.item() == pytest.approx(0.3 * 2, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), scale=st.floats(0.5, 10), shift=st.floats(-5, 5))
def test_the_scale_and_mean_of_a_dimension_are_immaterial(seed, scale, shift):
    z = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    changed = z.clone()
    changed[0, :, 1] = scale * z[0, :, 1] + shift
    totals = [BarlowTwins()(siamese(each)).total for each in (z, changed)]
    torch.testing.assert_close(*totals, rtol=0, atol=1e-2)  # but for the 1e-5 beside the variance


def test_collapsed_dimensions_correlate_with_nothing():
    assert BarlowTwins()(siamese(torch.full((2, 8, 5), 0.3))).total == 5


def test_weights_are_refused(golden):
    with pytest.raises(UserError, match="BarlowTwins has no value per sample"):
        BarlowTwins()(siamese(golden, weight=torch.arange(4.0)))


def test_one_view_is_refused(golden):
    with pytest.raises(UserError, match="make no pair"):
        BarlowTwins()(siamese(golden[:1]))
