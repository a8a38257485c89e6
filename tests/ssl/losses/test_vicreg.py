import pytest
import torch
from embeddings import siamese
from sslab.ssl.core.errors import UserError
from sslab.ssl.losses.vicreg import VICReg, covariances, deficit, redundancy
from torch.nn.functional import normalize


def test_goldens_of_the_terms(golden):
    z = normalize(golden[:2], dim=-1)
    covariance = [covariances(view) for view in z]
    assert [deficit(c).item() for c in covariance] == pytest.approx([0.427726574, 0.445213115], abs=1e-9)
    assert [redundancy(c).item() for c in covariance] == pytest.approx([0.115759652, 0.081886085], abs=1e-9)
    assert VICReg()(siamese(z)).terms["invariance"].item() == pytest.approx(0.841811252, abs=1e-9)


def test_goldens_of_the_authors_code_of_solo_learn_and_of_the_paper(golden):
    step = siamese(normalize(golden[:2], dim=-1))
    assert VICReg()(step).total.item() == pytest.approx(32.154673159, abs=1e-9)
    assert VICReg(var_reduction="sum")(step).total.item() == pytest.approx(43.066419275, abs=1e-9)
    paper = 25 * (3 * 0.841811252 + 0.427726574 + 0.445213115) + 0.115759652 + 0.081886085
    assert VICReg(inv_reduction="sum", var_reduction="sum")(step).total.item() == pytest.approx(paper, abs=1e-7)


def test_covariances_are_those_of_torch(golden):
    torch.testing.assert_close(covariances(golden[0]), torch.cov(golden[0].T))


def test_equal_views_with_uncorrelated_wide_dimensions_are_the_minimum():
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert VICReg()(siamese(torch.stack([signs, signs]))).total.item() == pytest.approx(0, abs=1e-12)


def test_collapse_costs_the_whole_standard_deviation():
    output = VICReg()(siamese(torch.full((2, 8, 5), 0.3)))
    assert output.total.item() == pytest.approx(25 * (1 - 0.01))  # √1e-4 of it is granted


def test_each_weight_is_of_its_own_term(golden):
    step = siamese(golden)
    for name in ("invariance", "variance", "covariance"):
        weights = dict.fromkeys(("invariance", "variance", "covariance"), 0.0) | {name: 2.0}
        output = VICReg(**weights)(step)
        torch.testing.assert_close(output.total, 2 * output.terms[name])


def test_weights_of_samples_are_refused(golden):
    with pytest.raises(UserError, match="VICReg has no value per sample"):
        VICReg()(siamese(golden, weight=torch.arange(4.0)))
