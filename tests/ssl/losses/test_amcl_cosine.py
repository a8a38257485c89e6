import pytest
import torch
from embeddings import normal
from sslab.ssl.core.step import Step
from sslab.ssl.losses.amcl_cosine import AMCLCosine
from sslab.ssl.losses.cosine import Cosine
from sslab.ssl.losses.policies.pair_temperature import AdaptiveTemperature, omega
from torch import Tensor
from torch.nn.functional import normalize


def predicted(q: Tensor, k: Tensor) -> Step:
    return Step.of(dict(enumerate(q)), dict(enumerate(k)))


def test_a_temperature_of_one_without_regulariser_makes_simsiam():
    step = predicted(normal(2, 6, 5), normal(2, 6, 5, seed=1))
    torch.testing.assert_close(AMCLCosine(1.0, 0.0)(step).total, Cosine(scale=1.0)(step).total - 1)


@pytest.mark.parametrize("literal", [False, True])
def test_it_is_the_equation_of_the_paper(literal):
    """Of two views, and the mean over heads where the paper sums; one projector, whose z all heads predict."""
    torch.manual_seed(0)
    q, k = normal(2, 6, 3, 5).requires_grad_(), normal(2, 6, 5, seed=1)
    temperature = AdaptiveTemperature(5, 3, paper_literal=literal)
    u, v = normalize(q, dim=-1), normalize(k, dim=-1)
    total = torch.zeros((), dtype=torch.float64)
    for head in range(3):
        for x, h in ((u[0, :, head], v[1]), (u[1, :, head], v[0])):
            tau = temperature.between(x, h, head)
            total = total + (-(x * h).sum(dim=1) / (2 * tau) + omega(tau, 5, 0.3)).mean() / 3
    ours = AMCLCosine(temperature, 0.3)(predicted(q, k)).total
    torch.testing.assert_close(ours, total)
    over = [q, *temperature.parameters()]
    torch.testing.assert_close(torch.autograd.grad(ours, over), torch.autograd.grad(total, over), rtol=1e-6, atol=1e-7)


def test_heads_of_the_same_weights_make_the_loss_of_one():
    torch.manual_seed(0)
    q, k, loss = normal(2, 6, 5), normal(2, 6, 5, seed=1), AMCLCosine(AdaptiveTemperature(5, 3))
    many = q[:, :, None].expand(-1, -1, 3, -1)
    torch.testing.assert_close(loss(predicted(many, k)).total, loss(predicted(q, k)).total)


def test_equal_vectors_reach_the_lowest_temperature():
    """Where the cosine is at least beta, the term has no minimum but the bound."""
    torch.manual_seed(0)
    z = normal(6, 5).expand(2, -1, -1)
    loss, step = AMCLCosine(AdaptiveTemperature(5)), predicted(z, z)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        output = loss(step)
        output.total.backward()
        optimiser.step()
    assert output.terms["positive_temperature_max"] < 0.2  # of 0.1 to 0.5
