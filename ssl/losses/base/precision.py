"""The number format of losses: half precision has no head-room for a sum of exp(cosine / 0.1)."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.step import Step, of_each_head
from .output import Output


def full_precision(forward: Callable[[Any, Step], Output]) -> Callable[[Any, Step], Output]:
    """Runs a loss outside autocast, on embeddings of at least float32."""

    @wraps(forward)
    def exact(self: Any, step: Step) -> Output:
        with torch.autocast(step.weight.device.type, enabled=False):
            return forward(self, embeddings(step, partial(of_each_head, change=at_least_float32)))

    return exact


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def embeddings(step: Step, change: Callable[[Any], Any]) -> Step:
    """The step with every embedding in it changed; queries that are their targets stay the same tensors."""
    changed: dict[int, Any] = {}

    def once(x: Any) -> Any:
        if id(x) not in changed:
            changed[id(x)] = change(x)
        return changed[id(x)]

    def views(z: dict[int, Any]) -> dict[int, Any]:
        return {view: once(x) for view, x in z.items()}

    return step._replace(q=views(step.q), k=views(step.k), memory=change(step.memory), hard=views(step.hard))
