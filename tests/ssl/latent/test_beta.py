import pytest
import torch
from scipy.stats import beta as reference
from scipy.stats import kstest
from sslab.ssl.draws import keys
from sslab.ssl.latent.beta import beta


@pytest.mark.parametrize("alpha", [0.6, 1.0, 1.6, 2.0, 8.0])
def test_the_distribution_is_beta(alpha):
    x = beta(keys(1, torch.arange(10_000)), 3, 2, alpha)
    assert ((x >= 0) & (x <= 1)).all()
    assert kstest(x.flatten().numpy(), reference(alpha, alpha).cdf).pvalue > 1e-3
    assert torch.corrcoef(x.T)[0, 1].abs() < 0.05


def test_the_same_key_and_stream_draw_the_same():
    key = keys(1, torch.arange(4))
    assert torch.equal(beta(key, 3, 2, 1.6)[1:2], beta(key[1:2], 3, 2, 1.6))
    assert not torch.isclose(beta(key, 3, 2, 1.6), beta(key, 4, 2, 1.6)).any()
