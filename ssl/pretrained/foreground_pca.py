"""The principal direction of patches."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ..core.distributed import collected, total
from ..core.errors import UserError
from .foreground import Foreground, scores
from .frozen_encoder import Frozen

MARGIN = (1 - 0.5**0.5) / 2  # on each side of a square that holds half of a map
Maps = Iterable[Float[Tensor, "_ d h w"]]  # batches may be of several sizes


class Principal:
    """Foreground by the first principal component of patches (GenView; Li et al. 2024).

    v is the eigenvector of the largest eigenvalue of Σ (z - z̄)(z - z̄)ᵀ over all patches z of some images. Of the two
    signs it has the one with which the middle of images, about half of their patches, has a larger mean of z·v than
    their border. The threshold leaves `share` of all z·v above it.

    Args:
        encoder: whose patches they are.
        images: to take v and the threshold from, at random; all if there are fewer.
        share: of patches that are foreground; the authors advise 0.4, and their code takes about 0.35.
    """

    def __init__(self, encoder: Frozen, images: int = 10_000, share: float = 0.4) -> None:
        if images < 1 or not 0 < share < 1:
            raise UserError(f"foreground.images={images} and share={share}: expected 1 or more, and between 0 and 1")
        self.encoder, self.images, self.share = encoder, images, share

    def find(self, maps: Callable[[], Maps]) -> Foreground:
        """Return the foreground of all maps that `maps()` goes through; it is called twice, since they exceed a memory.

        Several processes go through some maps each, and find the same but for rounding.
        """
        direction = first_direction(maps(), self.encoder.dim)
        seen = torch.cat(collected([scores(patches, direction).cpu() for patches in maps()]))
        if border_above_middle(seen):
            direction, seen = -direction, -seen
        return Foreground(direction.cpu(), threshold(seen.flatten(), self.share), self.encoder)


def first_direction(maps: Maps, dim: int) -> Float[Tensor, " d"]:
    """The first principal direction of all patches of all processes; its sign is arbitrary."""
    moments = torch.zeros(dim + 1, dim + 1, dtype=torch.float64)  # Σ (z, 1)(z, 1)ᵀ
    for patches in maps:
        z = patches.movedim(1, -1).flatten(0, -2).double()
        z = pad(z, (0, 1), value=1)
        moments += (z.T @ z).cpu()
    moments = total(moments)
    if moments[-1, -1] == 0:
        raise UserError("there are no images to find a foreground in")
    moments = moments / moments[-1, -1]
    mean = moments[:-1, -1]
    return torch.linalg.eigh(moments[:-1, :-1] - torch.outer(mean, mean)).eigenvectors[:, -1].float()


def border_above_middle(seen: Float[Tensor, "n h w"]) -> bool:
    top, left = (max(1, round(MARGIN * side)) for side in seen.shape[1:])
    middle = torch.zeros(seen.shape[1:], dtype=torch.bool)
    middle[top:-top, left:-left] = True
    if not middle.any():
        raise UserError(
            f"a map of {seen.shape[1]}x{seen.shape[2]} patches has no middle: give the encoder larger images"
        )
    mean = seen.double().mean(0)
    return bool(mean[middle].mean() < mean[~middle].mean())


def threshold(seen: Float[Tensor, " n"], share: float) -> float:
    """The largest of those scores that are not foreground, if `share` of all are."""
    return seen.kthvalue(max(1, len(seen) - round(share * len(seen)))).values.item()
