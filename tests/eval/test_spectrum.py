import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sslab.eval.spectrum import rankme
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


@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100))
def test_rotation_scale_and_order_change_nothing(seed, scale):
    z = gaussian(50, 6).double() * torch.tensor([5.0, 2, 1, 1, 0.1, 0.01])
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(rankme(scale * z[order] @ orthogonal(6, seed)), rankme(z))


def test_a_column_twice_adds_no_dimension():
    z = gaussian(400, 5)
    torch.testing.assert_close(rankme(torch.cat([z, z], 1)), rankme(z), rtol=1e-4, atol=0)
