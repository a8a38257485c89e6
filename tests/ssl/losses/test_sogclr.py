import math
from pathlib import Path
from typing import Any

import pytest
import torch
from embeddings import normal, siamese
from ranks import outcomes
from sslab.ssl.core.distributed import rank, world
from sslab.ssl.core.errors import UserError
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.policies.temperature import Learned, PerRow
from sslab.ssl.losses.sogclr import SogCLR
from torch import Tensor


def test_golden(golden):
    loss = SogCLR(4, temperature=0.5, gamma=1.0)
    assert loss(siamese(golden[:2])).total.item() == pytest.approx(1.819048743, abs=1e-9)
    expected = torch.tensor([1.6690289178, 2.1849762556, 2.1603825200, 1.7472333953])
    torch.testing.assert_close(loss.log_u.value.exp(), expected, rtol=1e-6, atol=0)
    assert SogCLR(4, 0.1, 1.0)(siamese(golden[:2])).total.item() == pytest.approx(2.355054807, abs=1e-9)


def test_golden_with_an_average_already_there(golden):
    loss = SogCLR(4, temperature=0.5, gamma=0.8)
    loss.log_u.value.zero_()
    assert loss(siamese(golden[:2])).total.item() == pytest.approx(1.957708241, abs=1e-9)


@pytest.mark.parametrize(("tau", "expected"), [(0.07, -1.454636224), (0.3, -0.711806216), (1.0, 0.095263917)])
def test_golden_of_the_temperatures_derivative(golden, tau, expected):
    policy = PerRow(4, start=tau, low=0.01, high=10.0, rho=0.3, eta=1.0, beta=1.0)
    SogCLR(4, policy, gamma=1.0)(siamese(golden[:2]))
    assert policy.v.value[0].item() == pytest.approx(expected, abs=1e-6)


def gradient(loss: torch.nn.Module, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(siamese(z)).total, z)[0]


@pytest.mark.parametrize("t", [0.1, 0.5])
def test_without_memory_it_is_dcl(t):
    z = normal(2, 6, 4)
    expected = 2 * t * gradient(InfoNCE(t, decouple=True), z)
    torch.testing.assert_close(gradient(SogCLR(6, t, gamma=1.0), z), expected, rtol=1e-10, atol=1e-12)


def test_the_average_replaces_the_denominator():
    """Halving u doubles every p."""
    z = normal(2, 5, 4)
    forces = []
    for u in (3.0, 6.0):
        loss = SogCLR(5, 0.3, gamma=1e-9)
        loss.log_u.value.fill_(math.log(u))
        attraction = torch.autograd.functional.jacobian(lambda z: -2 * torch.cosine_similarity(*z).mean(), z)
        forces.append(gradient(loss, z) - attraction)
    torch.testing.assert_close(forces[0], 2 * forces[1], rtol=1e-6, atol=1e-9)


def test_the_moving_average_is_one_and_touches_its_rows_alone():
    loss, z = SogCLR(10, 0.5, gamma=0.25), normal(2, 4, 3)
    first, second = (SogCLR(4, 0.5, gamma=1.0) for _ in range(2))
    row = torch.tensor([2, 3, 5, 7])
    for z_now, alone in ((z, first), (z + 1, second)):
        loss(siamese(z_now, row=row))
        alone(siamese(z_now))
    expected = 0.75 * first.log_u.value.exp() + 0.25 * second.log_u.value.exp()
    torch.testing.assert_close(loss.log_u.value.exp()[row], expected)
    assert (loss.log_u.value.isneginf().nonzero()[:, 0] == torch.tensor([0, 1, 4, 6, 8, 9])).all()


def test_frozen_temperatures_make_isogclr_sogclr():
    z = normal(2, 5, 4)
    frozen, constant = SogCLR(5, PerRow(5, start=0.2, eta=0.0)), SogCLR(5, 0.2)
    for _ in range(3):
        torch.testing.assert_close(frozen(siamese(z)).total, constant(siamese(z)).total, rtol=1e-6, atol=1e-7)


def test_constant_features_cool_every_temperature_down_to_its_lowest():
    policy = PerRow(4, start=0.2, low=0.05, rho=0.3, eta=0.02, beta=0.9)
    loss, before = SogCLR(4, policy, gamma=1.0), policy.tau.value.clone()
    for _ in range(50):
        loss(siamese(torch.ones(2, 4, 3)))
        assert (policy.tau.value <= before).all()
        before = policy.tau.value.clone()
    torch.testing.assert_close(before, torch.full((4,), 0.05))


def test_finite_where_exponentials_overflow():
    z = torch.ones(2, 8, 4, requires_grad=True)
    loss = SogCLR(8, 0.005)
    for _ in range(2):
        total = loss(siamese(z)).total
    (force,) = torch.autograd.grad(total, z)
    assert total.isfinite()
    assert force.isfinite().all()


def test_an_image_alone_has_only_its_attraction_and_is_not_visited():
    z = normal(2, 1, 4).requires_grad_()
    loss = SogCLR(3, 0.3)
    value, attraction = loss(siamese(z)).total, -2 * torch.cosine_similarity(z[0], z[1])[0]
    torch.testing.assert_close(value, attraction)
    torch.testing.assert_close(*(torch.autograd.grad(x, z) for x in (value, attraction)))
    assert loss.log_u.value.isneginf().all()


def two_epochs() -> dict[str, Tensor]:
    """What is remembered after every image was seen twice, in two batches an epoch; from this rank's images."""
    loss = SogCLR(8, PerRow(8, eta=0.05), gamma=0.7)
    order = torch.tensor([3, 1, 4, 0, 5, 7, 2, 6])
    totals = []
    for epoch in range(2):
        for rows in order.chunk(2):
            mine = rows.chunk(world())[rank()]
            z = normal(2, 8, 4, seed=epoch)[:, mine]
            totals.append(loss(siamese(z, row=mine)).total)
    return {**loss.state_dict()}


def test_ranks_remember_what_one_process_does(tmp_path: Path):
    expected = two_epochs()
    results: dict[int, list[Any]] = outcomes(two_epochs, (2,), tmp_path)
    assert expected["log_u.value"].isfinite().all()
    for state in results[2]:
        torch.testing.assert_close(dict(state), expected, rtol=1e-6, atol=1e-7)


def test_a_checkpoint_restores_what_is_remembered_and_another_data_set_is_refused():
    loss, again = SogCLR(5, PerRow(5)), SogCLR(5, PerRow(5))
    for _ in range(2):
        loss(siamese(normal(2, 5, 4)))
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again(siamese(normal(2, 5, 4))).total, loss(siamese(normal(2, 5, 4))).total)
    assert torch.equal(again.temperature.tau.value, loss.temperature.tau.value)
    with pytest.raises(UserError, match="remembers 5 training images, the data set has 7"):
        SogCLR(7, PerRow(7)).load_state_dict(loss.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "rows=None"),
        ({"rows": 4, "gamma": 0.0}, "gamma=0.0"),
        ({"rows": 4, "temperature": Learned()}, "learned temperature gets no gradient"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        SogCLR(**options)
