"""A memory of earlier targets."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..core.distributed import gather
from ..core.errors import UserError
from ..core.step import Step
from .base import Part

UNFILLED = -1


class Queue(Part):
    """Offers the targets of earlier steps as the step's memory (MoCo; He et al. 2020, Alg. 1).

    First in, first out, over all ranks, as the teacher gave them; `views` names the target views to keep, null all of
    them; `shape` is that of one target, (d,) or of several heads (H, d). The memory has `size` places from the first
    step on; those not filled yet are of no group, so nobody's negatives. Before `from_epoch` the queue fills but
    offers nothing (SwAV; Caron et al. 2020).
    """

    any_shape = True

    def __init__(
        self,
        size: int,
        shape: Sequence[int] | None,
        batch_size: int | None = None,
        views: list[int] | None = None,
        from_epoch: int = 0,
        epochs: float | None = None,
    ) -> None:
        super().__init__(from_epoch, epochs)
        if shape is None:
            raise UserError("a queue holds the targets of one head, but the head gives several by name: leave it out")
        self.size, self.views = size, views
        self._refuse_parts_of_batches((batch_size or 1) * (1 if views is None else len(views)))
        self.z = nn.Buffer(torch.zeros(size, *shape))
        self.row, self.group, self.label = (nn.Buffer(torch.full((size,), UNFILLED)) for _ in range(3))
        self.cursor = nn.Buffer(torch.zeros((), dtype=torch.long))  # the oldest place, which is filled next

    def forward(self, step: Step) -> Step:
        offered = super().forward(step)  # lookup precedes store
        self.enqueue(step)
        return offered

    def change(self, step: Step) -> Step:
        return step._replace(
            memory=torch.cat([step.memory, self.z]),  # a copy: the queue moves on before the backward pass
            memory_row=torch.cat([step.memory_row, self.row]),
            memory_group=torch.cat([step.memory_group, self.group]),
            memory_label=torch.cat([step.memory_label, self.label]),
        )

    def enqueue(self, step: Step) -> None:
        views = list(step.k) if self.views is None else self.views
        if missing := set(views) - set(step.k):
            raise UserError(f"the queue is to hold views {sorted(missing)}, but targets are of views {list(step.k)}")
        z = gather(torch.stack([step.k[v].detach().to(self.z.dtype) for v in views], dim=1))  # (B, V, *shape)
        image = gather(torch.stack([step.row, step.group, step.batch.label], dim=1))
        self._store(z.flatten(0, 1), *image.repeat_interleave(len(views), dim=0).unbind(1))

    def _store(
        self, z: Float[Tensor, "n *shape"], row: Int[Tensor, " n"], group: Int[Tensor, " n"], label: Int[Tensor, " n"]
    ) -> None:
        self._refuse_parts_of_batches(len(z))
        place = (self.cursor + torch.arange(len(z), device=z.device)) % self.size
        for buffer, new in ((self.z, z), (self.row, row), (self.group, group), (self.label, label)):
            buffer[place] = new
        self.cursor.add_(len(z)).remainder_(self.size)

    def _refuse_parts_of_batches(self, entries: int) -> None:
        if self.size < 1 or self.size % entries:
            raise UserError(
                f"a queue of size={self.size} does not hold whole batches of {entries} targets: "
                f"choose a multiple, such as {max(1, round(self.size / entries)) * entries}"
            )
