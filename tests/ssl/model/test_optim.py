import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.model.optim import Optim
from torch import nn


def test_warm_up_rises_to_the_peak_and_the_cosine_falls_to_the_end() -> None:
    optim = Optim("sgd", lr=1.0, weight_decay=0.0, warmup=0.1, final=0.2)
    factors = [optim.factor(step, 100) for step in range(101)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.2 + 0.8 * 0.5)
    assert factors[100] == pytest.approx(0.2)


def test_the_peak_is_held_before_the_cosine() -> None:
    optim = Optim("sgd", lr=1.0, weight_decay=0.0, warmup=0.1, hold=0.6, final=0.2)
    factors = [optim.factor(step, 100) for step in range(101)]
    assert factors[10:61] == [1.0] * 51
    assert factors[80] == pytest.approx(0.2 + 0.8 * 0.5)
    assert factors[100] == pytest.approx(0.2)
    assert factors[:10] == [optim._replace(hold=0.0).factor(step, 100) for step in range(10)]


@pytest.mark.parametrize("hold", [-0.1, 1.5])
def test_a_hold_is_a_share_of_the_steps(hold: float) -> None:
    with pytest.raises(UserError, match=r"optim\.hold=.*from 0 to 1"):
        Optim("sgd", lr=1.0, weight_decay=0.0, hold=hold).check()


def test_a_hold_and_milestones_are_two_schedules() -> None:
    with pytest.raises(UserError, match=r"optim\.hold=0\.5 and optim\.milestones"):
        Optim("sgd", lr=1.0, weight_decay=0.0, hold=0.5, milestones=[0.6]).check()


@given(st.floats(0, 1), st.integers(1, 500))
def test_the_factor_never_leaves_its_range(warmup: float, total: int) -> None:
    optim = Optim("sgd", lr=1.0, weight_decay=0.0, warmup=warmup)
    assert all(0 <= optim.factor(step, total) <= 1 for step in range(total + 1))


@pytest.mark.parametrize(("scaling", "factor"), [("linear", 4.0), ("sqrt", 2.0), ("none", 1.0)])
def test_the_peak_scales_with_all_samples_of_a_step(scaling: str, factor: float) -> None:
    optim = Optim("sgd", lr=0.3, weight_decay=0.0, scaling=scaling)  # pyright: ignore[reportArgumentType]
    assert optim.peak(1024) == pytest.approx(0.3 * factor)
    assert optim.build({"encoder": nn.Linear(2, 2)}, 1024).param_groups[0]["lr"] == pytest.approx(0.3 * factor)


def test_norms_and_biases_do_not_decay() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    for group in Optim("adamw", lr=1e-3, weight_decay=0.1).build({"encoder": net}, 256).param_groups:
        dims = {p.ndim > 1 for p in group["params"]}
        assert dims == {group["weight_decay"] > 0}


def test_lars_scales_a_step_by_the_norm_of_the_weight() -> None:
    """The first step of LARS: lr · η ‖w‖/‖g‖ · g where decay is on, plain SGD where it is off (You et al. 2017)."""
    layer = nn.Linear(3, 2)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    optim = Optim("lars", lr=0.5, weight_decay=1e-9, scaling="none", options={"trust_coeff": 0.01})
    optimizer = optim.build({"encoder": layer}, 256)
    layer.weight.grad, layer.bias.grad = torch.full((2, 3), 0.3), torch.full((2,), 0.7)
    optimizer.step()
    trust = 0.01 * weight.norm() / math.sqrt(6 * 0.3**2)
    assert torch.allclose(layer.weight, weight - 0.5 * trust * 0.3, atol=1e-6)
    assert torch.allclose(layer.bias, bias - 0.5 * 0.7, atol=1e-6)


def test_milestones_replace_the_cosine() -> None:
    optim = Optim("sgd", lr=1.0, weight_decay=0.0, warmup=0.1, milestones=[0.5, 0.8])
    factors = [optim.factor(step, 100) for step in (4, 10, 49, 50, 79, 80, 99)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_at_a_milestone_the_rate_drops_to_its_share() -> None:
    optim = Optim("sgd", lr=1.0, weight_decay=0.0, warmup=0.0, milestones=[0.6, 0.8], drop=0.2)
    assert [optim.factor(step, 20) for step in (0, 11, 12, 15, 16, 19)] == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04])


def test_groups_keep_rates_of_their_own() -> None:
    layer = nn.Linear(2, 2)
    optim = Optim("sgd", lr=1.0, weight_decay=0.1, momentum=0.8)
    first, second = optim.over([{"params": [layer.weight], "lr": 0.5}, {"params": [layer.bias]}], 512).param_groups
    assert (first["lr"], second["lr"], first["momentum"], second["weight_decay"]) == (0.5, 2.0, 0.8, 0.1)


def test_a_rate_for_each_family_of_networks_becomes_one() -> None:
    optim = Optim("muon", lr={"convolution": 0.4, "attention": 0.1}, weight_decay=0.0, scaling="none")
    assert optim.suited(convolutional=True).peak(256) == 0.4
    assert optim.suited(convolutional=False).peak(256) == 0.1
    assert optim._replace(lr=0.3).suited(convolutional=False).lr == 0.3
    with pytest.raises(UserError, match="give one number here"):
        optim.peak(256)
    with pytest.raises(UserError, match="one each for convolution and attention"):
        optim._replace(lr={"convolution": 0.4}).suited(convolutional=True)


def test_a_constant_part_keeps_the_peak_rate() -> None:
    optim = Optim("sgd", lr=1.0, weight_decay=0.1, scaling="none", warmup=0.0, constant=["predictor"])
    optimizer = optim.build({"encoder": nn.Linear(2, 2), "predictor": nn.Linear(2, 2)}, 256)
    factors = optim.factors(optimizer, 100)
    last = {group["part"]: factor(99) for group, factor in zip(optimizer.param_groups, factors, strict=True)}
    assert last["predictor"] == 1.0
    assert last["encoder"] < 0.001
    with pytest.raises(UserError, match=r"names \['head'\]: choose among encoder, predictor, latent, loss"):
        optim._replace(constant=["head"]).check()


def test_the_decay_follows_its_own_cosine_where_there_is_one() -> None:
    optim = Optim("adamw", lr=1.0, weight_decay=0.04, final_decay=0.4)
    optimizer = optim.build({"encoder": nn.Linear(2, 2)}, 256)
    for progress, expected in ((0.0, 0.04), (0.5, 0.22), (1.0, 0.4)):
        optim.set_decay(optimizer, progress)
        assert sorted(group["weight_decay"] for group in optimizer.param_groups) == pytest.approx([0, expected])
