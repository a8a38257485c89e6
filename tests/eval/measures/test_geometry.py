import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.eval.measures.geometry import (
    alignment,
    feature_std_ratio,
    pair_similarities,
    tolerance,
    uniformity,
    uniformity_optimum,
)
from torch import Tensor
from torch.nn.functional import normalize


def sphere(n: int, d: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@pytest.mark.parametrize(("dim", "published"), [(2, -1.575), (16, -3.513), (128, -3.9375), (512, -3.9844)])
def test_optimum_of_uniformity(dim, published):
    assert uniformity_optimum(dim) == pytest.approx(published, abs=6e-4)


def test_circle_reaches_the_optimum():
    angle = torch.arange(2000, dtype=torch.float64) * 2 * math.pi / 2000
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    assert uniformity(circle).item() == pytest.approx(uniformity_optimum(2), abs=5e-3)


def test_golden_of_uniformity():
    i, d = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (4, 3)), indexing="ij")
    unit = normalize(torch.sin(1 + 0.9 * i + 2.3 * d + 0.5 * i * d))
    assert uniformity(unit).item() == pytest.approx(-1.915499408, abs=1e-9)


def test_simplex_lies_below_the_optimum():
    corners = torch.eye(129, dtype=torch.float64)
    simplex = normalize(corners - corners.mean(0))
    assert uniformity(simplex).item() == pytest.approx(-4.031, abs=5e-4)


def test_random_points_approach_the_optimum():
    assert uniformity(sphere(2048, 128)).item() == pytest.approx(uniformity_optimum(128), abs=0.01)


def test_collapse():
    point = sphere(1, 16).expand(64, 16).contiguous()
    assert uniformity(point).item() == pytest.approx(0, abs=1e-9)
    assert feature_std_ratio(point).item() == pytest.approx(0, abs=1e-7)


def test_std_ratio_of_the_sphere_is_one():
    assert feature_std_ratio(sphere(20_000, 32)).item() == pytest.approx(1, abs=0.01)


@settings(deadline=None)
@given(n=st.integers(2, 12), d=st.integers(2, 6), seed=st.integers(0, 99))
def test_equal_loops_over_pairs(n, d, seed):
    x, y = sphere(n, d, seed), sphere(n, d, seed + 100)
    different = [(i, j) for i in range(n) for j in range(n) if i != j]
    spread = sum(math.exp(-2 * float((x[i] - x[j]).square().sum())) for i, j in different) / len(different)
    near = sum(float((x[i] - y[i]).square().sum()) for i in range(n)) / n
    positive, negative = pair_similarities(x, y).tolist()
    assert uniformity(x).item() == pytest.approx(math.log(spread))
    assert alignment(x, y).item() == pytest.approx(near)
    assert positive == pytest.approx(1 - near / 2)
    assert negative == pytest.approx(sum(float(x[i] @ y[j]) for i, j in different) / len(different), abs=1e-12)


@settings(deadline=None)
@given(n=st.integers(3, 12), d=st.integers(2, 6), seed=st.integers(0, 99))
def test_tolerance_equals_a_loop_over_pairs_of_a_class(n, d, seed):
    x = sphere(n, d, seed)
    label = torch.arange(n) % 3 - 1
    label[:2] = 0
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j and label[i] == label[j] >= 0]
    expected = sum(float(x[i] @ x[j]) for i, j in pairs) / len(pairs)
    assert tolerance(x, label).item() == pytest.approx(expected, abs=1e-12)


def test_tolerance_does_not_fall_with_the_number_of_classes():
    for classes in (2, 10, 50):
        label = torch.arange(500) % classes
        assert tolerance(sphere(classes, 128)[label], label).item() == pytest.approx(1)
