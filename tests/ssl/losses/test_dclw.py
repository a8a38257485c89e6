import pytest
import torch
from embeddings import siamese
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.errors import UserError
from sslab.ssl.losses.dclw import DCLW
from sslab.ssl.losses.infonce import InfoNCE


def test_golden(golden):
    loss = DCLW(temperature=0.1, sigma=0.5)
    assert loss(siamese(golden[:2])).total.item() == pytest.approx(14.206830790, abs=1e-9)
    weights = loss.weights(torch.cosine_similarity(golden[0], golden[1]))
    assert weights.tolist() == pytest.approx([0.7222761771, 1.3862977988, 1.7403297152, 0.1510963088], abs=1e-10)


def test_a_wide_sigma_is_dcl(golden):
    step = siamese(golden)
    torch.testing.assert_close(DCLW(0.1, sigma=1e9)(step).total, InfoNCE(0.1, decouple=True)(step).total)


@settings(max_examples=30, deadline=None)
@given(similarity=st.lists(st.floats(-1, 1), min_size=1, max_size=50), sigma=st.floats(0.05, 10))
def test_weights_have_mean_one_and_fall_with_the_similarity(similarity, sigma):
    s = torch.tensor(similarity, dtype=torch.float64).sort().values
    weights = DCLW(sigma=sigma).weights(s)
    assert weights.mean().item() == pytest.approx(1)
    assert (weights.diff() <= 1e-12).all()
    assert (weights <= 2).all()


def test_weights_are_constants_to_the_gradient(golden):
    z = golden[:2].clone().requires_grad_()
    loss = DCLW(0.1)
    (gradient,) = torch.autograd.grad(loss(siamese(z)).total, z)
    similarity = torch.cosine_similarity(z[0], z[1])
    attraction = -(loss.weights(similarity.detach()) - 1) * similarity / 0.1
    by_hand = InfoNCE(0.1, decouple=True)(siamese(z)).total + attraction.mean()
    torch.testing.assert_close(gradient, *torch.autograd.grad(by_hand, z))


def test_sigma_must_be_positive():
    with pytest.raises(UserError, match="sigma=-1.0 .* above 0"):
        DCLW(sigma=-1.0)
