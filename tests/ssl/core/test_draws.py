import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta as reference
from scipy.stats import kstest
from sslab.ssl.core.draws import beta, keys, mix, permutation, uniforms


def test_mix_is_a_fixed_function_of_its_parts() -> None:
    # splitmix64's first output from state 0 is 0xE220A8397B1DCDAF; `mix(0)` finalises it once more and drops a bit.
    from sslab.ssl.core.draws import _finalise

    assert _finalise(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    assert mix(0) == _finalise(0xE220A8397B1DCDAF) >> 1


def test_mix_tells_order_sign_and_length_apart() -> None:
    seeds = {mix(1, 2), mix(2, 1), mix(1), mix(1, 2, 0), mix(-1, 2), mix(1, -2)}
    assert len(seeds) == 6
    assert all(0 <= s < 2**63 for s in seeds)


@given(st.integers(0, 2**40), st.integers(0, 100), st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_a_sample_draws_the_same_whoever_is_beside_it(seed: int, stream: int, positions: list[int]) -> None:
    together = uniforms(keys(seed, torch.tensor(positions)), stream, 5)
    for row, position in zip(together, positions, strict=True):
        assert torch.equal(row, uniforms(keys(seed, torch.tensor([position])), stream, 5)[0])


def test_draws_are_uniform_and_independent() -> None:
    draws = torch.cat([uniforms(keys(3, torch.arange(200_000)), stream, 3) for stream in (0, 1)], 1).double()
    assert draws.min() >= 0
    assert draws.max() < 1
    deviation = 5 / 200_000**0.5  # five standard errors
    assert (draws.mean(0) - 0.5).abs().max() < deviation * 12**-0.5
    correlation = torch.corrcoef(draws.T) - torch.eye(6, dtype=torch.float64)
    assert correlation.abs().max() < deviation
    counts = torch.histc(draws, bins=64, min=0, max=1)
    chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi_square < 63 + 5 * (2 * 63) ** 0.5


@given(st.integers(0, 2**60), st.integers(1, 300))
def test_a_permutation_holds_everything_once(seed: int, size: int) -> None:
    assert permutation(seed, size).sort().values.tolist() == list(range(size))


def test_permutations_differ_by_seed() -> None:
    assert not torch.equal(permutation(1, 100), permutation(2, 100))


@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.5, 0.6, 1, 1.6, 8.0])
def test_beta_variates_are_distributed_as_such(alpha: float) -> None:
    x = beta(keys(1, torch.arange(10_000)), 3, 2, alpha)
    assert ((x >= 0) & (x <= 1)).all()
    assert torch.corrcoef(x.T)[0, 1].abs() < 0.05
    # Near 1 float32 is too coarse for a small alpha: the upper half is only counted.
    low = x[x < 0.5]
    assert abs(len(low) - 10_000) < 5 * 5000**0.5
    assert kstest(low.double().numpy(), lambda v: 2 * reference(alpha, alpha).cdf(v)).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.1, 1.6])
def test_beta_variates_are_functions_of_key_and_stream(alpha: float) -> None:
    key = keys(1, torch.arange(4))
    assert torch.equal(beta(key, 3, 2, alpha)[1:2], beta(key[1:2], 3, 2, alpha))
    assert not torch.equal(beta(key, 3, 2, alpha), beta(key, 4, 2, alpha))
