import pytest
import torch
from embeddings import siamese, value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.losses.dclw import DCLW
from sslab.ssl.losses.infonce import InfoNCE
from torch.nn.functional import normalize


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


def test_weights_may_be_differentiated(golden):
    """As in the reference code, by a loop over images."""

    def by_loops(z: torch.Tensor) -> torch.Tensor:
        unit, losses = normalize(z, dim=-1), []
        similarity = (unit[0] * unit[1]).sum(-1)
        scaled = (similarity / 0.5).exp()
        for i in range(4):
            for a in (0, 1):
                others = torch.stack([unit[a, i] @ unit[b, j] / 0.1 for b in (0, 1) for j in range(4) if j != i])
                losses.append(others.logsumexp(0) - (2 - scaled[i] / scaled.mean()) * similarity[i] / 0.1)
        return torch.stack(losses).mean()

    def ours(z: torch.Tensor) -> torch.Tensor:
        return DCLW(0.1, detach_weights=False)(siamese(z)).total

    results = (value_and_gradient(value, golden[:2]) for value in (ours, by_loops))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_sigma_must_be_positive():
    with pytest.raises(UserError, match="sigma=-1.0 .* above 0"):
        DCLW(sigma=-1.0)
