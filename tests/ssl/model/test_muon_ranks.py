"""Matrices shared out over processes move as they would in one; apart, so that every process imports little."""

import copy
from typing import Any

import pytest
import torch
from ranks import outcomes
from sslab.ssl.core.distributed import rank
from sslab.ssl.model.muon import SharedMuon, muon_groups
from torch import Tensor, nn

SHAPES = ((16, 48), (48, 16), (16, 6, 3, 3), (16,), (8, 8), (1, 4, 8))
STEPS = 3


def made() -> tuple[list[nn.Parameter], SharedMuon]:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    parameters[2].data = parameters[2].data.contiguous(memory_format=torch.channels_last)
    groups = muon_groups([{"params": parameters[:3]}, {"params": parameters[3:], "weight_decay": 0.1}])
    return parameters, SharedMuon(groups, lr=0.1, momentum=0.9)


def move(parameters: list[nn.Parameter], optimizer: SharedMuon, steps: range) -> None:
    for step in steps:
        gradients = [
            torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * step + i))
            for i, p in enumerate(parameters)
        ]

        def closure(gradients: list[Tensor] = gradients) -> float:
            assert torch.is_grad_enabled()
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient
            return 0.0

        assert optimizer.step(closure) == 0.0


def moved() -> dict[str, Any]:
    """Weights after some steps, after as many with a save between, and how many momenta a process keeps."""
    straight, optimizer = made()
    move(straight, optimizer, range(2 * STEPS))
    kept = sum(bool(optimizer.state.get(p)) for p in straight)
    before, optimizer = made()
    move(before, optimizer, range(STEPS))
    optimizer.consolidate_state_dict()
    saved = copy.deepcopy(optimizer.state_dict()) if rank() == 0 else {}
    weights = [p.detach().clone() for p in before]
    move(before, optimizer, range(STEPS, 2 * STEPS))
    return {
        "straight": [p.detach() for p in straight],
        "saved between": [p.detach() for p in before],
        "kept": kept,
        "checkpoint": (weights, saved),
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    return outcomes(moved, (1, 2, 4), tmp_path_factory.mktemp("ranks"))


def test_weights_are_bitwise_those_of_one_process(found: dict[int, list[Any]]) -> None:
    expected = found[1][0]["straight"]
    for ranks in found.values():
        for one in ranks:
            for name in ("straight", "saved between"):
                assert all(torch.equal(a, b) for a, b in zip(one[name], expected, strict=True))


def test_a_matrix_has_its_momentum_on_one_process(found: dict[int, list[Any]]) -> None:
    matrices, others = 4, 2
    for world in (2, 4):
        assert sum(one["kept"] - others for one in found[world]) == matrices
        assert max(one["kept"] for one in found[world]) < matrices + others


def test_what_the_first_process_saves_is_whole_and_continues_in_any_number(found: dict[int, list[Any]]) -> None:
    for world in (1, 2, 4):
        weights, saved = found[world][0]["checkpoint"]
        parameters, optimizer = made()
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.data.copy_(weight)
        optimizer.load_state_dict(saved)
        move(parameters, optimizer, range(STEPS, 2 * STEPS))
        assert all(torch.equal(a, b) for a, b in zip(parameters, found[1][0]["straight"], strict=True))
