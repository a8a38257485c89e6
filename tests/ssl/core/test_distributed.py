import pytest
import torch
from ranks import outcomes
from sslab.ssl.core.distributed import gather, rank, total, world
from torch import Tensor


def shares() -> dict[str, Tensor]:
    """Every rank weighs every gathered number differently: a gradient lost on the way shows."""
    x = torch.full((3, 2), rank() + 1.0, requires_grad=True)
    everyone = gather(x.T)  # not contiguous
    weight = torch.arange(float(everyone.numel())).view_as(everyone)
    (everyone * weight * (rank() + 1)).sum().backward()
    assert x.grad is not None
    return {
        "everyone": everyone.detach(),
        "gradient": x.grad,
        "rows": gather(torch.tensor([rank(), -rank()])),
        "total": total(x[0, 0]),
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Tensor]]]:
    return {1: [shares()]} | outcomes(shares, (2, 3), tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gather_keeps_rank_order_and_type(results, size):
    for result in results[size]:
        assert result["everyone"].tolist() == [[r + 1.0] * 3 for r in range(size) for _ in range(2)]
        assert result["rows"].tolist() == [sign * r for r in range(size) for sign in (1, -1)]
        assert result["rows"].dtype == torch.int64


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gradient_of_a_row_is_summed_over_ranks(results, size):
    weight = torch.arange(size * 6.0).view(size, 2, 3) * sum(range(1, size + 1))
    for r, result in enumerate(results[size]):
        torch.testing.assert_close(result["gradient"], weight[r].T)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_total_is_a_constant_sum(results, size):
    for result in results[size]:
        assert result["total"].item() == sum(range(1, size + 1))
        assert not result["total"].requires_grad


def test_without_processes_gather_is_the_identity():
    x = torch.ones(2, 3, requires_grad=True)
    assert (rank(), world()) == (0, 1)
    assert gather(x) is x
