"""The template of losses that compare how two views are spread over prototypes."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...core.errors import UserError
from ...core.step import Step
from .directions import directions
from .heads import one_head
from .output import Output
from .precision import full_precision


class PrototypeLoss(nn.Module, ABC):
    """Cross-entropy of what targets are assigned to and what queries predict, over all pairs of views.

    Embeddings are scores, one per prototype (`head=prototypes`): they are not normalised. With p_b the assignment of
    the target of view b, a constant, q_a the query's scores and t the temperature:

        loss = -Σ_c p_b(c) log softmax(q_a / t)(c)

    `confidence` is the largest of p_b: 1/C where a network has collapsed to what all prototypes share.
    """

    def __init__(self, temperature: float, scores: bool = True) -> None:
        super().__init__()
        if not scores:
            raise UserError("this loss compares scores of prototypes, but the head gives embeddings: head=prototypes")
        if temperature <= 0:
            raise UserError(f"temperature={temperature} divides the scores: give it a value above 0")
        self.temperature = temperature

    @full_precision
    def forward(self, step: Step) -> Output:
        one_head(next(iter(step.q.values())), type(self).__name__)
        compared = directions(step)
        assigned = self.assign({view: k.detach() for view, k in step.k.items()}, step)
        predicted = {view: (q * (1 / self.temperature)).log_softmax(dim=1) for view, q in step.q.items()}
        losses = [-(assigned[b] * predicted[a]).sum(dim=1) for a, b in compared]
        confidence = [assigned[b].amax(dim=1) for _, b in compared]
        loss, confidence = (torch.stack(values).mean(dim=0) for values in (losses, confidence))
        return Output.mean(step.weight, loss, confidence=confidence)

    @abstractmethod
    def assign(self, target: dict[int, Float[Tensor, "n c"]], step: Step) -> dict[int, Float[Tensor, "n c"]]:
        """Return the distribution over the prototypes that every target is to be predicted as."""
