import pytest
import torch
from embeddings import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.policies.negatives import Hardest, WithoutOutliers
from torch import Tensor
from torch.nn.functional import normalize, softplus


def one_way(z: Tensor) -> Step:
    return Step.of({0: z[0]}, {1: z[1]})


def hard(k: int | None, temperature: float = 0.3) -> InfoNCE:
    return InfoNCE(temperature, negatives=["cross"], keep=Hardest(k) if k else None)


@pytest.mark.parametrize(("k", "expected"), [(None, 3.186751105), (2, 3.178273606), (1, 3.151226023)])
def test_golden_of_hard_infonce(golden, k, expected):
    assert hard(k)(one_way(golden)).total.item() == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 8), surplus=st.integers(0, 3))
def test_all_of_the_hardest_are_all(seed, n, surplus):
    z = normal(2, n, 4, seed=seed)
    assert torch.equal(hard(n - 1 + surplus)(one_way(z)).total, hard(None)(one_way(z)).total)


def test_the_one_hardest_makes_a_softplus():
    z = normal(2, 6, 4)
    q, k = normalize(z, dim=-1)
    similarity = q @ k.T
    hardest = similarity.clone().fill_diagonal_(-2).amax(1)
    expected = softplus((hardest - similarity.diag()) / 0.3).mean()
    torch.testing.assert_close(hard(1)(one_way(z)).total, expected, rtol=1e-12, atol=1e-12)


def test_those_that_are_not_kept_get_no_gradient():
    q, k = normal(1, 3), normal(5, 3, seed=1).requires_grad_()
    loss = InfoNCE(0.3, negatives=[], keep=Hardest(2))
    one, two = torch.zeros(1, 3).double(), torch.zeros(5, dtype=torch.long)
    step = Step.of({0: q}, {1: q + one}, memory=k, memory_row=two - 1, memory_group=two, memory_label=two)
    output = loss(step)
    output.total.backward()
    assert k.grad is not None
    chosen = (normalize(k, dim=1) @ normalize(q, dim=1)[0]).topk(2).indices
    assert set(k.grad.abs().sum(1).nonzero()[:, 0].tolist()) == set(chosen.tolist())
    assert output.terms["negatives_kept"] == 2


def box(similarity: Tensor, r: float) -> Tensor:
    """The definition, row by row."""
    low, high = similarity.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64), dim=1)
    return similarity > (high + r * (high - low))[:, None]


@pytest.mark.parametrize("r", [0.0, 0.5, 1.5])
def test_outliers_are_those_above_the_box(r):
    similarity = normal(20, 40)
    nothing = torch.zeros(20, 40, dtype=torch.bool)
    assert torch.equal(WithoutOutliers(r)(similarity, nothing), box(similarity, r))


def test_the_box_is_of_what_may_be_a_negative():
    similarity = normal(3, 30)
    excluded = torch.zeros(3, 30, dtype=torch.bool)
    excluded[:, 20:] = True
    result = WithoutOutliers(0.5)(similarity, excluded)
    assert result[:, 20:].all()
    assert torch.equal(result[:, :20], box(similarity[:, :20], 0.5))


def test_of_gaussian_similarities_a_third_of_a_percent_is_dropped():
    similarity = normal(100, 4000)
    share = WithoutOutliers()(similarity, torch.zeros_like(similarity, dtype=torch.bool)).double().mean()
    assert share.item() == pytest.approx(0.0035, abs=2e-4)


def test_few_negatives_are_all_kept_and_a_wide_box_keeps_all():
    similarity = torch.tensor([[0.0, 0.0, 1.0]])
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    assert not WithoutOutliers(0.0)(similarity, nothing).any()
    z = normal(2, 9, 4)
    wide = InfoNCE(0.3, keep=WithoutOutliers(1e9))
    torch.testing.assert_close(wide(one_way(z)).total, InfoNCE(0.3)(one_way(z)).total)


@pytest.mark.parametrize("chunk", [1, 13, 10**6])
def test_a_false_negative_no_longer_repels(chunk):
    z = normal(2, 16, 8)
    z[:, 1] = z[:, 0] + 0.01 * normal(2, 8, seed=3)  # image 1 is image 0 once more
    plain, kept = (InfoNCE(0.1, keep=keep, chunk=chunk)(one_way(z)) for keep in (None, WithoutOutliers(1.0)))
    assert kept.total < plain.total - 0.05
    assert 13 < kept.terms["negatives_kept"] < 15


@pytest.mark.parametrize(("keep", "options"), [(Hardest, {"k": 0}), (WithoutOutliers, {"r": -1.0})])
def test_impossible_options_are_refused(keep, options):
    with pytest.raises(UserError, match=r"keep\.[kr]="):
        keep(**options)
