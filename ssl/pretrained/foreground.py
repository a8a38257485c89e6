"""The foreground of an image: a direction among the patches of a frozen encoder."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core.errors import UserError
from .frozen_encoder import Frozen

FILE = "foreground.safetensors"
STEP = 100  # between two noise levels


class Foreground(NamedTuple):
    """Foreground are patches z with z·v above the threshold, v being the direction."""

    direction: Float[Tensor, " d"]  # of unit length
    threshold: float
    encoder: Frozen  # whose patches they are

    @classmethod
    def load(cls, given: str, weights: str | None = None, precision: str | None = None) -> "Foreground":
        """Load a file, or the one in a folder; `weights`: where the encoder's are, if not where they were."""
        path = Path(given).expanduser()
        file = path / FILE if path.is_dir() else path
        remedy = "make one by python -m sslab.datamodules.generate foreground=pca"
        if not file.is_file():
            raise UserError(f"foreground={given} holds no {FILE}: {remedy}")
        try:
            with safe_open(file, "pt") as content:
                settings = json.loads(content.metadata()["encoder"])
                direction, threshold = content.get_tensor("direction"), content.get_tensor("threshold").item()
            expected = settings.pop("fingerprint")
        except (SafetensorError, KeyError, TypeError) as error:
            raise UserError(f"{file} is no {FILE} ({str(error).splitlines()[0]}): {remedy}") from None
        encoder = Frozen(**settings | ({"weights": weights} if weights else {}), precision=precision)
        if encoder.fingerprint != expected:
            raise UserError(
                f"{file} was made with other weights than {encoder.settings['weights']} holds: give those, or {remedy}"
            )
        return cls(direction, threshold, encoder)

    def save(self, folder: Path) -> None:
        """Whole or not at all."""
        encoder = self.encoder.settings | {"fingerprint": self.encoder.fingerprint}
        tensors = {"direction": self.direction, "threshold": torch.tensor(self.threshold, dtype=torch.float64)}
        draft = folder / f"{FILE}.tmp"
        save_file(tensors, draft, {"encoder": json.dumps(encoder)})  # one entry: of several the order is random
        os.replace(draft, folder / FILE)

    def inside(self, patches: Float[Tensor, "b d h w"]) -> Int[Tensor, " b"]:
        """The number of each image's patches that are foreground."""
        return (scores(patches, self.direction) > self.threshold).sum(dim=(1, 2))


def scores(patches: Float[Tensor, "b d h w"], direction: Float[Tensor, " d"]) -> Float[Tensor, "b h w"]:
    """z·v of every patch as it is, not centred."""
    return torch.einsum("bdhw,d->bhw", patches, direction.to(patches))


def noise_level(count: Int[Tensor, " n"], patches: int) -> Int[Tensor, " n"]:
    """100 · max(⌈5ρ⌉ - 1, 0), ρ being the share of `count` in all `patches` (GenView; Li et al. 2024).

    An image that is mostly foreground keeps its subject under more noise. In integers, so that no ρ is on the wrong
    side of a boundary.
    """
    return STEP * ((5 * count + patches - 1) // patches - 1).clamp(min=0)
