"""The group of every training image."""

from pathlib import Path

from torch import nn

from ...datamodules.loading.groups import load
from ..core.errors import UserError
from ..core.step import Step
from .base import Part


class Groups(Part):
    """Tells a step the groups of its images, so that nobody is contrasted with another group (MCL; Zhang et al. 2024).

    It stands before a queue, which keeps the groups of what it holds.

    Args:
        file: the group of every training image, as `numpy.save` writes it.
        rows: the number of training images.
    """

    any_shape = True

    def __init__(self, file: str, rows: int | None = None) -> None:
        super().__init__()
        self.table = nn.Buffer(load(Path(file)))
        if rows not in (None, len(self.table)):
            raise UserError(f"{file} holds the groups of {len(self.table)} images, but there are {rows} to train on")

    def check(self, step: Step) -> None:
        super().check(step)
        if len(step.memory):
            raise UserError("the memory holds images of groups unknown: put groups before queue in `latent`")

    def change(self, step: Step) -> Step:
        return step._replace(group=self.table[step.row])
