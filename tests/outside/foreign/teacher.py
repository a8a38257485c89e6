from typing import Any

from sslab.ssl.core import View
from sslab.ssl.model import Encoder
from torch import nn


class Doubled(nn.Module):
    """Targets are twice the online embeddings."""

    shared = True

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()

    def forward(self, views: dict[int, View], z: dict[int, Any]) -> dict[int, Any]:
        return {v: 2 * z[v].detach() for v in views}
