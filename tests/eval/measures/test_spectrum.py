import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.eval.measures.spectrum import alpha_req, covariance_spectrum, entropy_rank, participation_ratio, rankme
from sslab.ssl.core.errors import UserError
from torch import Tensor


def gaussian(n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def orthogonal(d: int, seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))[0]


def test_orthonormal_columns_use_every_dimension():
    q, _ = torch.linalg.qr(gaussian(512, 32))
    assert rankme(q).item() == pytest.approx(32, abs=1e-3)


def test_one_direction():
    z = torch.linspace(-1, 2, 300)[:, None] * torch.ones(1, 32)
    assert rankme(z).item() == pytest.approx(1.00005, abs=2e-5)


@pytest.mark.parametrize(("n", "published"), [(25_600, 127.9), (2048, 127.0), (256, 118.5)])
def test_gaussian_in_128_dimensions(n, published):
    assert rankme(gaussian(n, 128)).item() == pytest.approx(published, abs=0.15)


def test_singular_values_not_eigenvalues():
    """1000 x 1024: fewer rows than columns; eigenvalues of the covariance would give 613.6."""
    assert rankme(gaussian(1000, 1024)).item() == pytest.approx(814.1, abs=0.5)


def test_common_offset_hides_the_rank_unless_centred():
    z = gaussian(25_600, 64) + 20
    assert rankme(z).item() == pytest.approx(5.8, abs=0.1)
    assert rankme(z, centred=True).item() == pytest.approx(63.7, abs=0.3)


def test_equals_singular_value_decomposition():
    z = gaussian(300, 40) * torch.logspace(0, -9, 40)
    sigma = torch.linalg.svdvals(z.double())
    p = sigma / sigma.sum() + 1e-7
    assert rankme(z).item() == pytest.approx((-(p * p.log()).sum()).exp().item(), rel=1e-5)


@settings(deadline=None)
@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100))
def test_rotation_scale_and_order_change_nothing(seed, scale):
    z = gaussian(50, 6).double() * torch.tensor([5.0, 2, 1, 1, 0.1, 0.01])
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(rankme(scale * z[order] @ orthogonal(6, seed)), rankme(z))


def test_a_column_twice_adds_no_dimension():
    z = gaussian(400, 5)
    torch.testing.assert_close(rankme(torch.cat([z, z], 1)), rankme(z), rtol=1e-4, atol=0)


def test_eigenvalues_of_the_covariance_are_another_metric():
    assert entropy_rank(covariance_spectrum(gaussian(1000, 1024))).item() == pytest.approx(613.6, abs=0.5)


@pytest.mark.parametrize(
    ("n", "d", "published", "error"), [(25_600, 128, 127.4, 0.1), (256, 128, 85.0, 1), (1000, 1024, 506, 2)]
)
def test_participation_ratio_of_a_gaussian(n, d, published, error):
    assert participation_ratio(covariance_spectrum(gaussian(n, d))).item() == pytest.approx(published, abs=error)


@pytest.mark.parametrize(("n", "d"), [(50, 7), (7, 50), (8, 8)])
def test_spectrum_of_tall_and_wide_matrices_by_chunks(monkeypatch, n, d):
    monkeypatch.setattr("sslab.eval.measures.moments.CHUNK", 6)
    z = gaussian(n, d) + 3
    expected = torch.linalg.svdvals(z.double() - z.double().mean(0)).square() / (n - 1)
    torch.testing.assert_close(covariance_spectrum(z)[: min(n - 1, d)], expected[: min(n - 1, d)])


@pytest.mark.parametrize("alpha", [0.5, 1, 2])
def test_alpha_of_a_power_law_is_exact(alpha):
    fit = alpha_req(3 * torch.arange(1, 301, dtype=torch.float64) ** -alpha)
    assert fit.alpha == pytest.approx(alpha, abs=1e-12)
    assert fit.r_squared == pytest.approx(1, abs=1e-12)


def test_alpha_of_a_gaussian():
    fit = alpha_req(covariance_spectrum(gaussian(1000, 1024)))
    assert fit.alpha == pytest.approx(0.149, abs=5e-4)
    assert 0.9 < fit.r_squared < 1


@settings(deadline=None)
@given(seed=st.integers(0, 99))
def test_alpha_is_weighted_least_squares(seed):
    spectrum = torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).sort().values.flip(0)
    i = torch.arange(3, 21, dtype=torch.float64)
    root = (1 / i).sqrt()[:, None]
    design = torch.stack([i.log(), torch.ones_like(i)], 1)
    solution = torch.linalg.lstsq(root * design, root * spectrum[2:20, None].log()).solution
    assert alpha_req(spectrum, 3, 20).alpha == pytest.approx(-solution[0].item(), rel=1e-9)


def test_alpha_of_a_low_rank_is_refused():
    line = "α-ReQ reads the eigenvalues 11 to 100, but the features have a lower rank"
    with pytest.raises(UserError, match=line):
        alpha_req(covariance_spectrum(gaussian(90, 200)))
    with pytest.raises(UserError, match=line):
        alpha_req(covariance_spectrum(torch.cat([gaussian(500, 60)] * 2, 1)))
