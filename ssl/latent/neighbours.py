"""Nearest neighbours as targets."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..core.step import Step
from ..losses.ops.nearest import CHUNK, nearest
from .base import Part


class Neighbours(Part):
    """Replaces every target by its nearest neighbour in the memory (NNCLR; Dwibedi et al. 2021).

        k_i ← argmax_u cos(k_i, u)    over the u in the memory that are of the group of image i

    Where there is none yet the target stays as it is. The neighbours are constants, and may show the image itself. The
    memory is used up by this: it holds no negatives.
    """

    needs_memory = True

    def __init__(self, chunk: int = CHUNK) -> None:
        super().__init__()
        self.chunk = chunk

    def change(self, step: Step) -> Step:
        return step._replace(
            k={view: self.neighbour(step, k.detach()) for view, k in step.k.items()},
            memory=step.memory[:0],
            memory_row=step.memory_row[:0],
            memory_group=step.memory_group[:0],
            memory_label=step.memory_label[:0],
        )

    def neighbour(self, step: Step, target: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        memory = step.memory.detach()
        similarity, place = nearest(
            normalize(target, dim=-1),
            normalize(memory, dim=-1),
            lambda part: step.group[part, None] != step.memory_group,
            count=1,
            chunk=self.chunk,
        )
        return torch.where(similarity > -torch.inf, memory[place[:, 0]], target)
