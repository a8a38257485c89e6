import pytest
import torch
from embeddings import normal, siamese
from sslab.ssl.losses.amcl_barlow import AMCLBarlow
from sslab.ssl.losses.barlow import BarlowTwins, cross_correlation
from sslab.ssl.losses.policies.pair_temperature import CorrelationTemperature, omega


def adaptive(heads: int = 1, literal: bool = False) -> CorrelationTemperature:
    temperature = CorrelationTemperature(heads, paper_literal=literal)
    with torch.no_grad():
        temperature.slope.copy_(torch.linspace(1, 2, heads))
        temperature.bias.copy_(torch.linspace(-1, 0, heads))
    return temperature


def test_a_temperature_of_one_without_regulariser_makes_barlow_twins():
    step = siamese(normal(2, 8, 3, 5))
    torch.testing.assert_close(AMCLBarlow(1.0, 0.02, 0.0)(step).total, BarlowTwins(0.02)(step).total)


@pytest.mark.parametrize("literal", [False, True])
def test_it_is_the_equation_of_the_paper(literal):
    """As the mean over heads, where the paper has the sum."""
    z, temperature = normal(2, 8, 3, 4).requires_grad_(), adaptive(3, literal)
    total = torch.zeros((), dtype=torch.float64)
    for head in range(3):
        c = cross_correlation(z[0, :, head], z[1, :, head])
        for i in range(4):
            for j in range(4):
                seen = c[i, j] if literal else c[i, j].detach()
                tau = 1 + (temperature.slope[head] * seen + temperature.bias[head]).sigmoid()
                on = (1 - c[i, j] / tau) ** 2 + omega(tau, 4, 0.3)
                total = total + (on if i == j else 0.1 * c[i, j] ** 2 / tau - omega(tau, 4, 0.3)) / 3
    ours = AMCLBarlow(temperature, 0.1, 0.3)(siamese(z)).total
    torch.testing.assert_close(ours, total)
    over = [z, *temperature.parameters()]
    torch.testing.assert_close(torch.autograd.grad(ours, over), torch.autograd.grad(total, over), rtol=1e-6, atol=1e-7)


def test_heads_of_the_same_weights_make_the_loss_of_one():
    z, temperature = normal(2, 8, 5), CorrelationTemperature(3)
    loss = AMCLBarlow(temperature)
    torch.testing.assert_close(loss(siamese(z[:, :, None].expand(-1, -1, 3, -1))).total, loss(siamese(z)).total)
