import pytest
import torch
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.losses.cosine import Cosine


def test_golden_of_one_direction(golden):
    output = Cosine()(Step.of({0: golden[0]}, {1: golden[1]}))
    assert output.total.item() == pytest.approx(2.525433757, abs=1e-9)  # BYOL
    assert -output.terms["positive_similarity"].item() == pytest.approx(0.262716878, abs=1e-9)  # SimSiam


def test_it_is_the_squared_distance_of_unit_vectors(golden):
    a, b = torch.nn.functional.normalize(golden[:2], dim=-1)
    q, k = {0: golden[0], 1: golden[1]}, {0: 2 * golden[0], 1: 3 * golden[1]}
    torch.testing.assert_close(Cosine()(Step.of(q, k)).total, (a - b).square().sum(dim=1).mean())


def test_every_query_meets_every_target_of_another_view(golden):
    q, k = dict(enumerate(golden)), dict(enumerate(golden[:2]))
    one = [Cosine()(Step.of({a: q[a]}, {b: k[b]})).total for a, b in ((0, 1), (1, 0), (2, 0), (2, 1))]
    torch.testing.assert_close(Cosine()(Step.of(q, k)).total, sum(one) / 4)


def test_simsiam_has_half_the_gradient_of_one_byol_direction(golden):
    z = golden[:2].clone().requires_grad_()
    step = Step.of({0: z[0], 1: z[1]}, {0: z[0].detach(), 1: z[1].detach()})
    simsiam, byol = (torch.autograd.grad(Cosine(scale)(step).total, z)[0] for scale in (1.0, 2.0))
    torch.testing.assert_close(2 * simsiam, byol)


def test_one_view_is_refused(golden):
    with pytest.raises(UserError, match="make no pair"):
        Cosine()(Step.of({0: golden[0]}, {0: golden[1]}))
