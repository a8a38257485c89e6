import pytest
import torch
from embeddings import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.losses.policies.pair_temperature import (
    AdaptiveTemperature,
    CorrelationTemperature,
    PairTemperature,
    named,
    omega,
    pair_temperature,
)
from torch import Tensor
from torch.nn.functional import normalize


def network(seed: int = 0, **options) -> AdaptiveTemperature:
    torch.manual_seed(seed)
    return AdaptiveTemperature(**{"dim": 5, "query_heads": 3} | options)


def lowest(values: Tensor, at: Tensor) -> float:
    return at[values.argmin()].item()


@settings(max_examples=20, deadline=None)
@given(dim=st.integers(8, 64), cosine=st.floats(-1, 0.9))
def test_the_best_temperature_is_the_variance_of_maximum_likelihood(dim, cosine):
    tau = torch.logspace(-4, 1, 100_001, dtype=torch.float64)
    assert lowest(omega(tau, dim, beta=1.0), tau) == pytest.approx(2 / dim, rel=1e-3)
    best = lowest(omega(tau, dim, beta=1.0) - cosine / tau, tau)
    assert best == pytest.approx(2 * (1 - cosine) / dim, rel=1e-3)
    pair = torch.tensor([[1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]], dtype=torch.float64)
    assert best == pytest.approx((pair[0] - pair[1]).square().sum().item() / dim, rel=1e-3)


def test_omega_is_that_of_a_gaussian():
    """Up to what does not depend on the temperature."""
    z, tau = normalize(normal(2, 6), dim=1), torch.tensor([0.1, 0.3, 2.0], dtype=torch.float64)
    gaussian = torch.stack([torch.distributions.Normal(z[1], t.sqrt()).log_prob(z[0]).sum() for t in tau])
    ours = (z[0] * z[1]).sum() / tau - omega(tau, 6, beta=1.0)
    torch.testing.assert_close(ours - ours[0], gaussian - gaussian[0])
    torch.testing.assert_close(omega(tau, 6), omega(tau, 6, beta=1.0) / 6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1.0, 1e3]), head=st.integers(0, 2))
def test_temperatures_keep_their_bounds_and_are_symmetric(seed, scale, head):
    temperature, (a, b) = network(seed), normal(2, 7, 5, seed=seed) * scale
    tau = temperature.between(a, b, head)
    assert (tau >= 0.1).all()
    assert (tau <= 0.5).all()
    torch.testing.assert_close(temperature.between(b, a, head), tau)


def test_the_score_is_the_scaled_product_of_phi_and_the_bias_of_the_head():
    temperature, (a, b) = network(low=0.2, high=0.9), normal(2, 7, 5)
    with torch.no_grad():
        temperature.bias.copy_(torch.tensor([0.0, -1.0, 2.0]))
    phi = temperature.phi.double()
    score = (phi(a) * phi(b)).sum(dim=1) / 8 + 2.0  # √64
    torch.testing.assert_close(temperature.between(a, b, 2), 0.2 + 0.7 * score.sigmoid())
    matrix = temperature(temperature.of_query(a, 1) @ temperature.of_target(b).T)
    torch.testing.assert_close(matrix.diagonal(), temperature.between(a, b, 1))


def test_embeddings_get_a_gradient_only_if_it_is_to_be_literal():
    for literal in (False, True):
        z = normal(2, 7, 5).requires_grad_()
        temperature = network(paper_literal=literal)
        temperature.between(z[0], z[1], 0).sum().backward()
        assert (z.grad is not None) == literal
        assert all(p.grad.abs().max() > 0 for p in temperature.parameters())


def test_those_of_correlations_are_a_line_in_them():
    temperature, c = CorrelationTemperature(2, low=1.0, high=3.0), normal(4, 4).clamp(-1, 1)
    torch.testing.assert_close(temperature(temperature.of_correlation(c, 1)), torch.full_like(c, 2.0))  # the middle
    with torch.no_grad():
        temperature.slope.copy_(torch.tensor([0.0, -2.0]))
        temperature.bias.copy_(torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(temperature(temperature.of_correlation(c, 1)), 1 + 2 * (0.5 - 2 * c).sigmoid())


@pytest.mark.parametrize("literal", [False, True])
def test_correlations_get_a_gradient_only_if_it_is_to_be_literal(literal):
    temperature, c = CorrelationTemperature(paper_literal=literal), normal(4, 4).requires_grad_()
    temperature(temperature.of_correlation(c, 0)).sum().backward()
    assert (c.grad is not None) == literal
    assert temperature.slope.grad is not None


def test_a_number_is_the_temperature_of_all_pairs():
    temperature, (a, b) = pair_temperature(0.3), normal(2, 7, 5)
    assert not list(temperature.parameters())
    expected = torch.full((7,), 0.3, dtype=torch.float64)
    torch.testing.assert_close(temperature.between(a, b, 4), expected)
    assert temperature.spread(expected)[3] == 0  # it has no bounds to be at


def test_what_is_logged_of_temperatures():
    tau = torch.tensor([[0.1, 0.3, 0.5, 0.4979], [0.2, 0.1039, 0.4, 0.1041]], dtype=torch.float64)
    missing = torch.tensor([[False, False, True, False], [False] * 4])
    seen = named("positive", PairTemperature(0.1, 0.5).spread(tau, missing))
    expected = {
        "positive_temperature": [(0.1 + 0.3 + 0.4979) / 3, (0.2 + 0.1039 + 0.4 + 0.1041) / 4],
        "positive_temperature_min": [0.1, 0.1039],
        "positive_temperature_max": [0.4979, 0.4],
        "positive_temperature_at_bound": [2 / 3, 0.25],  # within 0.004
    }
    assert seen.keys() == expected.keys()
    for name, values in expected.items():
        assert seen[name].tolist() == pytest.approx(values)


def test_of_no_temperature_the_spread_is_that_of_an_empty_set():
    tau = torch.full((1, 2), 0.3)
    assert PairTemperature(0.1, 0.5).spread(tau, torch.ones_like(tau, dtype=torch.bool)).tolist() == [
        [0, torch.inf, -torch.inf, 0]
    ]


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (0.5, 0.4), (-1.0, 1.0)])
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(UserError, match="expected 0 < low <= high"):
        PairTemperature(low, high)
