import pytest
import torch
from sslab.eval.measures.moments import mean, scatter

X = 3 + torch.randn(50, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_equal_those_of_a_copy_in_double(monkeypatch, dtype):
    monkeypatch.setattr("sslab.eval.measures.moments.CHUNK", 7)
    x, double = X.to(dtype), X.to(dtype).double()
    torch.testing.assert_close(mean(x), double.mean(0))
    torch.testing.assert_close(scatter(x), double.T @ double)
    torch.testing.assert_close(scatter(x, mean(x)), double.T.cov() * 49)
