import math

import pytest
import torch
from embeddings import normal, siamese
from sslab.ssl.core.errors import UserError
from sslab.ssl.losses.dclw import DCLW
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.multiview import MVDHEL, MVInfoNCE
from sslab.ssl.losses.policies.temperature import Learned, PerRow, Scheduled, Temperature
from torch import Tensor
from torch.nn.functional import normalize


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.5), (0.2, 0.3), (0.4, 0.1), (0.9, 0.1)])
def test_a_scheduled_temperature_is_a_function_of_progress(progress, expected):
    z = normal(2, 5, 4)
    scheduled = InfoNCE(Scheduled(0.5, 0.1, until=0.4))(siamese(z, progress=progress))
    torch.testing.assert_close(scheduled.total, InfoNCE(expected)(siamese(z)).total)
    assert scheduled.terms["temperature"].item() == pytest.approx(expected)


@pytest.mark.parametrize("make", [InfoNCE, DCLW])
def test_a_learned_temperature_gets_the_gradient_of_the_value(make):
    loss = make(Learned(0.2)).double()
    z, step = normal(2, 6, 4), 1e-6
    (gradient,) = torch.autograd.grad(loss(siamese(z)).total, loss.temperature.log_inverse)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            loss.temperature.log_inverse += sign * step
            values.append(loss(siamese(z)).total)
            loss.temperature.log_inverse -= sign * step
    torch.testing.assert_close(gradient, (values[0] - values[1]) / (2 * step), rtol=1e-6, atol=1e-8)


def test_a_learned_temperature_stays_within_its_bounds_and_comes_back():
    temperature = Learned(0.02, low=0.01, high=0.5)
    with torch.no_grad():
        temperature.log_inverse.fill_(-math.log(0.001))
    step = siamese(normal(2, 3, 4))
    value = temperature(step)
    torch.testing.assert_close(value, torch.full((3,), 0.01, dtype=torch.float64), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(value.sum(), temperature.log_inverse)
    assert gradient < 0


def test_each_row_follows_its_own_derivative():
    """With the average equal to the batch, G is the derivative of t log mean exp(s/t) + t rho by differences."""
    z = normal(2, 4, 6)
    policy = PerRow(rows=10, start=0.3, low=0.05, high=1.0, rho=0.25, eta=0.02, beta=0.6)
    step = siamese(z)._replace(row=torch.tensor([7, 2, 5, 3]))
    InfoNCE(policy, decouple=True)(step)
    a, b = normalize(z, dim=-1)
    expected = []
    for i in range(4):
        others = [j for j in range(4) if j != i]

        def objective(t: float, x: Tensor, others: list[int] = others) -> float:
            s = x @ torch.cat([a[others], b[others]]).T
            return float(t * ((s / t).exp().mean().log() + 0.25))

        slopes = [(objective(0.3 + 1e-6, x) - objective(0.3 - 1e-6, x)) / 2e-6 for x in (a[i], b[i])]
        expected.append(0.3 - 0.02 * 0.6 * sum(slopes) / 2)
    torch.testing.assert_close(policy.tau.value[step.row].double(), torch.tensor(expected).double(), rtol=0, atol=1e-6)
    untouched = [row for row in range(10) if row not in (7, 2, 5, 3)]
    assert torch.equal(policy.tau.value[untouched], torch.full((6,), 0.3))


@pytest.mark.parametrize("make", [DCLW, MVInfoNCE, MVDHEL])
def test_a_loss_that_would_never_move_it_refuses_a_temperature_for_every_row(make):
    with pytest.raises(UserError, match="does not tell a temperature for every row"):
        make(PerRow(8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Temperature(0.0), "temperature=0.0 .* above 0"),
        (lambda: Scheduled(0.1, 0.2, until=0.0), "temperature.until=0.0"),
        (lambda: Learned(2.0), "start=2.0 lies outside"),
        (lambda: PerRow(8, start=0.01), "start=0.01 lies outside"),
        (lambda: PerRow(), "rows=None"),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
