import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sslab.datamodules.shapes.outlines import OUTLINES
from sslab.datamodules.shapes.textures import TEXTURES
from torch import Tensor

AXIS = torch.linspace(-1.5, 1.5, 61)
Y, X = (axis[None] for axis in torch.meshgrid(AXIS, AXIS, indexing="ij"))
coordinate = st.floats(-1.5, 1.5, width=32)


def at(function, x: float, y: float) -> float:
    return function(torch.full((1, 1, 1), x), torch.full((1, 1, 1), y)).item()


@pytest.mark.parametrize("outline", OUTLINES)
def test_fits_in_the_unit_circle_and_fills_some_of_it(outline) -> None:
    inside = outline(X, Y) < 0
    assert torch.hypot(X, Y)[inside].max() <= 1
    assert 0.2 < inside.sum() / (torch.hypot(X, Y) < 1).sum() < 0.75


@pytest.mark.parametrize("outline", OUTLINES)
@given(coordinate, coordinate, coordinate, coordinate)
def test_no_two_points_differ_by_more_than_their_distance(outline, a: float, b: float, c: float, d: float) -> None:
    assert abs(at(outline, a, b) - at(outline, c, d)) <= math.hypot(a - c, b - d) + 1e-5


def turned(outline, turn: float, scale: float) -> Tensor:
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    return outline(cos * X + sin * Y, cos * Y - sin * X) < 0


@pytest.mark.parametrize(("one", "other"), list(combinations(OUTLINES, 2)))
def test_no_turn_and_scale_makes_one_of_another(one, other) -> None:
    fixed = one(X, Y) < 0
    turns = [2 * math.pi * k / 24 for k in range(24)]
    overlap = [
        ((fixed & moved).sum() / (fixed | moved).sum()).item()
        for scale in (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4)
        for moved in (turned(other, turn, scale) for turn in turns)
    ]
    assert max(overlap) < 0.85


@pytest.mark.parametrize("texture", TEXTURES)
@given(coordinate, coordinate)
def test_textures_are_periodic_and_bounded(texture, x: float, y: float) -> None:
    value = at(texture, x, y)
    assert -1 <= value <= 1
    assert value == pytest.approx(at(texture, x + 2 * math.pi, y), abs=1e-4)
    assert value == pytest.approx(at(texture, x, y + 2 * math.pi), abs=1e-4)
