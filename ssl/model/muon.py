"""Muon: what moves by an orthogonal matrix and what by AdamW, and the work on matrices shared out over processes."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from timm.optim.muon import Muon
from torch import Tensor

from ..core.distributed import collected, rank, world

STACKED_RATE = 0.05  # of AdamW relative to Muon's, for weights that are no matrices of a layer


def muon_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, each split by how its parameters move.

    Muon (Jordan et al. 2024) takes matrices and, as a matrix of one row per output channel, convolutions: weights of
    layers in the encoder and the predictor, and prototypes. AdamW takes the rest, norms and biases at the group's own
    rate, and tokens, positions, depthwise filters and the stacked matrices of `head=multi` at a twentieth of it, since
    their entries are small beside those of norms.
    """
    return [
        {**group, **settings, "params": chosen}
        for group in groups
        for kind, settings in (
            ("matrix", {"use_fallback": False}),
            ("vector", {"use_fallback": True}),
            ("stacked", {"use_fallback": True, "fallback_lr_scale": STACKED_RATE}),
        )
        if (chosen := [parameter for parameter in group["params"] if _kind(parameter) == kind])
    ]


class SharedMuon(Muon):
    """timm's Muon, where each of several processes moves a share of the matrices and sends them to the others.

    Processes have the same gradients, so that without sharing all would compute the same products. A matrix's momentum
    is with the process that moves it; `consolidate_state_dict` is Lightning's name for gathering state before a save.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if world() == 1:
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        shares = self._shares()
        for parameter in chain(*shares[: rank()], *shares[rank() + 1 :]):
            parameter.grad = None
        super().step()
        with torch.no_grad():
            for owner, share in enumerate(shares):
                if share:
                    _send(share, owner)
        return loss

    def consolidate_state_dict(self) -> None:
        """Fetch the state of matrices that other processes move: on the first process, which saves."""
        if world() == 1:
            return
        shares = self._shares()
        theirs = collected([[_moved(self.state.get(p, {}), torch.device("cpu")) for p in shares[rank()]]])
        if rank() == 0:
            for parameter, state in zip(chain(*shares[1:]), chain(*theirs[1:]), strict=True):
                if state:
                    self.state[parameter] = _moved(state, parameter.device)

    def _shares(self) -> list[list[Tensor]]:
        """The matrices of every process: the costliest first, each to the one that has least to do."""
        matrices = [p for group in self.param_groups if not group["use_fallback"] for p in group["params"]]
        shares: list[list[Tensor]] = [[] for _ in range(world())]
        costs = [0] * world()
        for matrix in sorted(matrices, key=_cost, reverse=True):
            owner = costs.index(min(costs))
            shares[owner].append(matrix)
            costs[owner] += _cost(matrix)
        return shares


def _cost(matrix: Tensor) -> int:
    """Multiplications of one product, up to a constant."""
    return matrix.numel() * min(matrix.flatten(1).shape)


def _send(matrices: list[Tensor], owner: int) -> None:
    """Give all processes the matrices of one."""
    together = torch.cat([matrix.flatten() for matrix in matrices])
    dist.broadcast(together, owner)
    if rank() != owner:
        for matrix, sent in zip(matrices, together.split([matrix.numel() for matrix in matrices]), strict=True):
            matrix.copy_(sent.view(matrix.shape))


def _moved(state: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {k: v.to(device) if isinstance(v, Tensor) else v for k, v in state.items()}


def _kind(parameter: Tensor) -> str:
    if parameter.ndim <= 1:
        return "vector"
    layer = parameter.ndim in (2, 4) and parameter.shape[1] > 1  # a depthwise filter has one input channel
    return "matrix" if layer and min(parameter.flatten(1).shape) > 1 else "stacked"
