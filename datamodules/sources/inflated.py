"""Real images and generated ones, to be trained on together."""

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from ...ssl.core.errors import UserError
from ..reading.images import ImageSet


class Inflated:
    """The N real images, and after them the M generated ones, which have neither labels nor factors.

    Nothing is copied: a row is read where it is.
    """

    stack = None

    def __init__(self, real: ImageSet, generated: ImageSet) -> None:
        self.real, self.generated = real, generated
        self.factor_names, self.classes = real.factor_names, real.classes
        unknown = real.label.new_full((len(generated),), -1)
        self.label = torch.cat([real.label, unknown])
        self.factors = torch.cat([real.factors, unknown[:, None].expand(-1, real.factors.shape[1])])
        self.source = torch.cat([real.source, torch.ones_like(unknown)])

    def __len__(self) -> int:
        return len(self.label)

    def read(self, row: int) -> UInt8[Tensor, "3 H W"]:
        real = len(self.real)
        return self.real.read(row) if row < real else self.generated.read(row - real)

    def fingerprint(self) -> str:
        return f"{self.real.fingerprint()} {self.generated.fingerprint()}"


def copied(rows: Int[Tensor, " n"], source: Int[Tensor, " all"], copies: int) -> Int[Tensor, " k"]:
    """The rows of real images m = `copies` times, those of generated ones once (AdaInf; Wang et al. 2024).

    What is drawn from them is β P_real + (1 - β) P_generated, with β = mN / (mN + M).
    """
    if copies < 1:
        raise UserError(f"data.copies={copies} of the real images: expected 1 or more")
    real = source[rows] == 0
    return torch.cat([rows[real].repeat(copies), rows[~real]])
