import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.eval.measures.cka import cka, debiased_cka
from sslab.ssl.core.errors import UserError
from torch import Tensor


def gaussian(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_more_dimensions_than_images_look_alike_unless_debiased():
    x, y = gaussian(64, 256), gaussian(64, 256, seed=1)
    assert cka(x, y).item() == pytest.approx(0.796, abs=0.015)
    assert debiased_cka(x, y).item() == pytest.approx(0, abs=0.06)


def test_equals_kernels_centred_by_hand():
    x, y = gaussian(30, 4) + 5, gaussian(30, 7, seed=1) @ gaussian(7, 7) - 2
    centre = torch.eye(30, dtype=torch.float64) - 1 / 30
    k, m = (centre @ z @ z.T @ centre for z in (x, y))
    torch.testing.assert_close(cka(x, y), (k * m).sum() / (k.norm() * m.norm()))


def test_debiased_equals_a_loop_over_images():
    """HSIC₁ as a sum over four different images: the mean of (k_ij l_ij − 2 k_ij l_iq + k_ij l_qr)."""
    n = 6
    x, y = gaussian(n, 3), gaussian(n, 2, seed=1)

    def hsic(k: Tensor, m: Tensor) -> float:
        from itertools import permutations

        terms = [k[i, j] * (m[i, j] - 2 * m[i, q] + m[q, r]) for i, j, q, r in permutations(range(n), 4)]
        return float(torch.stack(terms).mean())

    k, m = x @ x.T, y @ y.T
    expected = hsic(k, m) / (hsic(k, k) * hsic(m, m)) ** 0.5
    assert debiased_cka(x, y).item() == pytest.approx(expected)


@settings(deadline=None)
@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100))
def test_rotation_scale_and_shift_change_nothing(seed, scale):
    x = gaussian(40, 5, seed) * torch.tensor([3.0, 2, 1, 1, 0.1])
    y = scale * x @ torch.linalg.qr(gaussian(5, 5, seed + 1))[0] + 3
    other = gaussian(40, 4, seed + 2)
    for measure in (cka, debiased_cka):
        assert measure(x, y).item() == pytest.approx(1)
        torch.testing.assert_close(measure(y, other), measure(x, other))
    assert cka(x, x @ gaussian(5, 5, seed + 3)).item() < 0.9999


def test_chunks_change_nothing(monkeypatch):
    x, y = gaussian(50, 6), gaussian(50, 3, seed=1)
    whole = cka(x, y)
    monkeypatch.setattr("sslab.eval.measures.cka.CHUNK", 7)
    torch.testing.assert_close(cka(x, y), whole)


def test_batches_are_averaged_before_the_ratio():
    shared = gaussian(4000, 8)
    x, y = shared + 0.5 * gaussian(4000, 8, 1), shared + 0.5 * gaussian(4000, 8, 2)
    assert debiased_cka(x, y, batch_size=64).item() == pytest.approx(cka(x, y).item(), abs=0.02)


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match="debiased CKA needs four images or more in a batch, but there are 3"):
        debiased_cka(gaussian(3, 2), gaussian(3, 2))
