"""Several heads on one backbone: what each of them sees of a step, and losses as means over them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor

from ...core.errors import UserError
from ...core.step import Step
from .output import Output
from .precision import embeddings


def of_head(step: Step, head: int | str) -> Step:
    """The step as one head sees it, by its number or its name; a target that has no heads is every head's."""

    def select(x: Tensor | dict[str, Tensor]) -> Tensor:
        if isinstance(x, dict):
            if head not in x:
                raise UserError(f"there is no head {head}: the heads are {', '.join(x)}")
            return x[str(head)]
        if x.ndim != 3:
            return x
        if not isinstance(head, int) or not 0 <= head < x.shape[1]:
            raise UserError(f"there is no head {head}: the heads are numbered 0 to {x.shape[1] - 1}")
        return x[:, head]

    return embeddings(step, select)._replace(head=head if isinstance(head, int) else 0)


def over_heads(forward: Callable[[Any, Step], Output]) -> Callable[[Any, Step], Output]:
    """Makes of a loss of embeddings (n, d) the mean over heads for embeddings (n, H, d)."""

    @wraps(forward)
    def mean(self: Any, step: Step) -> Output:
        name = type(self).__name__
        z = one_head(next(iter(step.q.values())), name)
        if z.ndim == 2:
            return forward(self, step)
        if z.ndim > 3:
            raise UserError(f"{name} compares vectors, but the head gives maps: choose loss=pixpro, or another head")
        if getattr(self, "keeps_rows", False):
            raise UserError(f"{name} keeps a value for every row, but not for {z.shape[1]} heads: choose another loss")
        return Output.average([forward(self, of_head(step, head)) for head in range(z.shape[1])])

    return mean


def one_head(z: Tensor | dict[str, Tensor], loss: str) -> Tensor:
    """The embeddings `z`, which are not to be of several named heads."""
    if isinstance(z, dict):
        raise UserError(f"{loss} sees several heads ({', '.join(z)}): give each its own by loss=sum and loss.heads")
    return z
