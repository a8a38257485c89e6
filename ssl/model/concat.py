"""Several backbones as one."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..core.step import Features
from .weights import load_weights


class Concat(nn.Module):
    """r(x) = [f_0(x), …, f_j(x)] of frozen backbones (MCL; Zhang et al. 2024).

    The cosine of two images is then the mean of their cosines, weighted by the norms; with `normalise`, which brings
    every pooled f(x) to unit length, it is their plain mean.

    Args:
        parts: the backbones, whose maps are of one height and width.
        normalise: as above.
        weights: where a run folder, or a safetensors file, holds the weights of all of them.
    """

    def __init__(self, parts: list[Any], normalise: bool = False, weights: str | None = None) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(parts)
        self.normalise = normalise
        self.dim, self.dense_dim = (sum(getattr(part, name) for part in parts) for name in ("dim", "dense_dim"))
        if weights is not None:
            load_weights(self.trunk, Path(weights))
        self.requires_grad_(False).eval()

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Features:
        seen = [part(image) for part in self.trunk]
        pooled = [normalize(f.pooled, eps=1e-12) if self.normalise else f.pooled for f in seen]
        dense, tokens = [f.dense for f in seen], [f.tokens for f in seen]
        return Features(torch.cat(pooled, dim=1), torch.cat(dense, dim=1), torch.cat(tokens, dim=2))

    def check(self, height: int, width: int) -> None:
        for part in self.trunk:
            part.check(height, width)  # pyright: ignore[reportCallIssue]

    def train(self, mode: bool = True) -> "Concat":
        """Stays as it is: what is joined has been trained."""
        return super().train(False)
