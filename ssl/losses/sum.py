"""Several losses at once."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..core.errors import UserError
from ..core.step import Step
from .base.heads import of_head
from .base.output import Output


class Sum(nn.Module):
    """Σ_name weights[name] · losses[name]; a weight that is not given is 1. All terms are logged under their names.

    A loss named in `heads` sees the one head of that number or name, one named in `views` these views alone: weak
    views on one head, strong ones on another, are two losses with a head and views each.
    """

    def __init__(
        self,
        losses: Mapping[str, nn.Module],
        weights: Mapping[str, float | int] = {},
        heads: Mapping[str, int | str] = {},
        views: Mapping[str, Sequence[int]] = {},
    ) -> None:
        super().__init__()
        for what, given in (("weights", weights), ("heads", heads), ("views", views)):
            if unknown := set(given) - set(losses):
                raise UserError(f"loss.{what} names {sorted(unknown)}: the losses are {', '.join(losses) or 'none'}")
        if not losses:
            raise UserError("loss.losses is empty: give it at least one, as in +loss@loss.losses.dcl=dcl")
        self.losses, self.weights = nn.ModuleDict(losses), {name: weights.get(name, 1.0) for name in losses}
        self.heads, self.views = heads, views

    def forward(self, step: Step) -> Output:
        outputs = {name: loss(self.seen_by(name, step)) for name, loss in self.losses.items()}
        terms = {name: output.total.detach() for name, output in outputs.items()}
        terms |= {f"{name}/{term}": value for name, output in outputs.items() for term, value in output.terms.items()}
        total = torch.stack([self.weights[name] * output.total for name, output in outputs.items()]).sum()
        return Output(total, terms)

    def seen_by(self, name: str, step: Step) -> Step:
        """The step with what the loss `name` is to see of it."""
        if name in self.heads:
            step = of_head(step, self.heads[name])
        if name not in self.views:
            return step
        q, k, hard = (
            {v: z for v, z in of.items() if step.view_of(v) in self.views[name]} for of in (step.q, step.k, step.hard)
        )
        if not q or not k:
            raise UserError(
                f"loss.views.{name}={list(self.views[name])}, but queries are of views {list(step.q)} and targets of "
                f"views {list(step.k)}: name some of both"
            )
        return step._replace(q=q, k=k, hard=hard)
