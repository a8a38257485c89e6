"""Several losses at once."""

from collections.abc import Mapping

import torch
from torch import nn

from ..errors import UserError
from ..step import Step
from .output import Output


class Sum(nn.Module):
    """Σ_name weights[name] · losses[name]; a weight that is not given is 1. All terms are logged under their names."""

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float | int] = {}) -> None:
        super().__init__()
        if unknown := set(weights) - set(losses):
            raise UserError(f"loss.weights names {sorted(unknown)}: the losses are {', '.join(losses) or 'none'}")
        if not losses:
            raise UserError("loss.losses is empty: give it at least one, as in +loss@loss.losses.dcl=dcl")
        self.losses, self.weights = nn.ModuleDict(losses), {name: weights.get(name, 1.0) for name in losses}

    def forward(self, step: Step) -> Output:
        outputs = {name: loss(step) for name, loss in self.losses.items()}
        terms = {name: output.total.detach() for name, output in outputs.items()}
        terms |= {f"{name}/{term}": value for name, output in outputs.items() for term, value in output.terms.items()}
        total = torch.stack([self.weights[name] * output.total for name, output in outputs.items()]).sum()
        return Output(total, terms)
