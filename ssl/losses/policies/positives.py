"""Soft targets: which other images are positives of a query too, and by how much."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ...core.errors import UserError
from ...core.points import Points


@runtime_checkable
class Soft(Protocol):
    """Weights of the candidates as targets of each anchor, relative to the 1 of the anchor's own target."""

    def __call__(self, anchor: Points, candidates: Points) -> Float[Tensor, "n m"]:
        """Constants; a weight of 1 says: as good as the own target."""
        ...


class SameLabel:
    """1 for images of the same class (SupCon: Khosla et al. 2020). An image without a label is a class of its own."""

    def __init__(self, classes: int | None = None) -> None:
        if classes == 0:
            raise UserError("loss.soft=labels (SupCon) needs labels, but this data set has none: choose another loss")

    def __call__(self, anchor: Points, candidates: Points) -> Float[Tensor, "n m"]:
        same = anchor.label[:, None] == candidates.label
        return (same & (anchor.label >= 0)[:, None]).to(anchor.z.dtype)


class Affinity:
    """exp((u_i·u_j - 1) / temperature), with u the targets: what the teacher finds alike is a target, too.

    The continuously weighted contrast of CWCL (Srinivasa et al. 2023) with weights that fall off exponentially: with
    affine ones the own target would hold next to nothing. A temperature towards 0 leaves the own target alone.
    """

    def __init__(self, temperature: float = 0.05) -> None:
        if temperature <= 0:
            raise UserError(f"soft.temperature={temperature} divides the cosines: give it a value above 0")
        self.temperature = temperature

    def __call__(self, anchor: Points, candidates: Points) -> Float[Tensor, "n m"]:
        return ((anchor.z @ candidates.z.T - 1) / self.temperature).exp()
