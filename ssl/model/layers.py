"""Backbones whose layers evaluation can tell apart."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..core.step import Features

BLOCKS, STAGES = 4, 2  # at the end of a trunk, that one layer joins


class Layered(nn.Module):
    """A backbone with names for what it sees.

    | layer | |
    |---|---|
    | `h` | the pooled last layer |
    | `cls_4` | of ViTs: the class tokens of the last 4 blocks, side by side |
    | `patch_avg` | of ViTs: the mean of all patches in the last layer |
    | `pool_2` | of networks of stages: the pooled maps of the last 2, side by side |
    | `z` | the head's output, of unit length, where there is a head with one |

    Args:
        backbone: image → `Features`.
        head: `Features` → z.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head if _gives_vectors(head) else None

    @property
    def layers(self) -> tuple[str, ...]:
        trunk: Any = getattr(self.backbone, "trunk", None)
        further: tuple[str, ...] = ()
        if getattr(trunk, "num_prefix_tokens", 0) and len(getattr(trunk, "blocks", ())) >= BLOCKS:
            further = (f"cls_{BLOCKS}", "patch_avg")
        elif hasattr(trunk, "forward_intermediates") and not hasattr(trunk, "blocks"):
            further = (f"pool_{STAGES}",)
        return ("h", *further, *(("z",) if self.head is not None else ()))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Features:
        return self.backbone(image)

    def named(self, image: Float[Tensor, "b 3 h w"], layers: Sequence[str]) -> dict[str, Float[Tensor, "b _"]]:
        """These layers, from one pass through the backbone and another for layers that reach below the last."""
        seen: Features = self.backbone(image)
        return {layer: self._one(layer, seen, image) for layer in layers}

    def _one(self, layer: str, seen: Features, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _"]:
        match layer:
            case "h":
                return seen.pooled
            case "patch_avg":
                return seen.tokens.mean(1)
            case "z" if self.head is not None:
                return normalize(self.head(seen).flatten(1).float(), dim=1)
        trunk: Any = self.backbone.trunk
        if layer.startswith("cls"):
            options = {"return_prefix_tokens": True, "norm": True, "intermediates_only": True}
            blocks = trunk.forward_intermediates(image, indices=BLOCKS, **options)
            return torch.cat([prefix[:, 0] for _, prefix in blocks], dim=1)
        maps = trunk.forward_intermediates(image, indices=STAGES, intermediates_only=True)
        return torch.cat([m.mean((2, 3)) for m in maps], dim=1)


def _gives_vectors(head: nn.Module | None) -> bool:
    """Tell whether z is an embedding, or several: heads by name, maps and scores are none."""
    facts: Any = head
    return isinstance(getattr(head, "dim", None), int) and not (
        getattr(facts, "map_only", False) or getattr(facts, "scores", False)
    )
