"""A request to a generator, and the contract of a generator."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

from .levels import Levels


class Request(NamedTuple):
    """One image to be made: of nothing, or as a variation of another."""

    number: int  # in the set
    seed: int
    row: int = -1  # of the original; -1: there is none
    level: int = -1  # of noise between the original and the image
    original: UInt8[Tensor, "3 H W"] = torch.empty(3, 0, 0, dtype=torch.uint8)

    def noise(self) -> torch.Generator:
        """The noise of this image alone, from its beginning; on the CPU, so that it is the same for every device."""
        return torch.Generator().manual_seed(self.seed)


@runtime_checkable
class Generator(Protocol):
    """Makes images together, with no other noise than their own."""

    @property
    def levels(self) -> Levels | None:
        """The distances of variations from their originals; None: it makes no variations."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that decide the images; `model` and `steps` are written beside each of them."""
        ...

    def __call__(self, requests: Sequence[Request]) -> list[UInt8[Tensor, "c h w"]]: ...
