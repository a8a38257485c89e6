import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.step import Step
from sslab.ssl.losses.koleo import KoLeo
from torch import Tensor
from torch.nn.functional import normalize


def step_of(*views: Tensor, **known: Tensor) -> Step:
    z = dict(enumerate(views))
    return Step.of(z, {}, **known)


def by_loops(z: Tensor) -> Tensor:
    unit = normalize(z, dim=1)
    nearest = [min((unit[i] - unit[j]).norm() for j in range(len(z)) if j != i) for i in range(len(z))]
    return -torch.stack(nearest).log()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 9), views=st.integers(1, 3))
def test_it_is_the_log_of_the_distance_to_the_nearest_other(seed, n, views):
    z = torch.randn(views, n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = torch.stack([by_loops(view) for view in z]).mean()
    torch.testing.assert_close(KoLeo()(step_of(*z)).total, expected)


def test_closed_forms():
    opposite = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    assert KoLeo()(step_of(opposite)).total.item() == pytest.approx(-math.log(2))
    output = KoLeo()(step_of(torch.eye(5)))
    assert output.total.item() == pytest.approx(-math.log(2) / 2)
    assert output.terms["nearest_distance"].item() == pytest.approx(math.sqrt(2))


def test_both_of_a_pair_are_pushed_apart():
    z = torch.tensor([[1.0, 0.1], [1.0, -0.1]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(KoLeo()(step_of(z)).total, z)
    a, b = normalize(z, dim=1)
    (by_hand,) = torch.autograd.grad(-(a - b).norm().log(), z)
    torch.testing.assert_close(gradient, by_hand)
    assert gradient[0, 1] < 0 < gradient[1, 1]


def test_the_same_image_and_other_groups_are_no_neighbours(golden):
    row, group = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 0, 1])
    unit = normalize(golden[0], dim=1)
    d = torch.cdist(unit, unit)
    expected = -torch.stack([d[0, 2], d[1, 2], d[2, :2].min(), torch.tensor(1.0)]).log().mean()
    torch.testing.assert_close(KoLeo()(step_of(golden[0], row=row, group=group)).total, expected)


def test_one_image_has_nothing_to_be_far_from():
    z = torch.ones(1, 3, requires_grad=True)
    total = KoLeo()(step_of(z)).total
    assert total.item() == pytest.approx(0)
    assert not torch.autograd.grad(total, z)[0].any()


def test_equal_embeddings_are_at_the_bound():
    total = KoLeo()(step_of(torch.ones(4, 3, dtype=torch.float64))).total
    assert total.item() == pytest.approx(-math.log(1e-8))


def test_weights_weigh_the_images(golden):
    weight = torch.tensor([1.0, 0.0, 2.0, 1.0])
    expected = (weight * by_loops(golden[0])).sum() / 4
    torch.testing.assert_close(KoLeo()(step_of(golden[0], weight=weight)).total, expected)
