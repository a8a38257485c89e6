"""Backbone and head together: what is trained, and what a teacher copies."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.step import Features, View, of_each_head
from .chunked import in_chunks


class Encoded(NamedTuple):
    """An encoder's features and embedding of one view."""

    features: Features
    z: Any  # a tensor, or a dict of named heads


class Encoder(nn.Module):
    """View → features → z, for several views at once.

    Views go through one by one where the network has batch statistics, as the papers do; else views of one size
    are joined into one pass. With `chunk` at most that many images of a pass are in the backbone at a time; the head
    always sees all of them. `compiled` may be set later: the backbone then runs as torch.compile translates it.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, chunk: int | None = None) -> None:
        super().__init__()
        self.backbone, self.head, self.chunk, self.compiled = backbone, head, chunk, False

    def forward(self, views: dict[int, View]) -> dict[int, Encoded]:
        encoded: dict[int, Encoded] = {}
        for together in self._passes(views):
            joined = self._encode(torch.cat([views[v].image for v in together]))
            for v, part in zip(together, _split(joined, len(together)), strict=True):
                encoded[v] = part
        return {v: encoded[v] for v in views}

    def _encode(self, image: Tensor) -> Encoded:
        if self.chunk:
            features = in_chunks(self.backbone, image, self.chunk)
        else:
            features = _program()(self.backbone, image) if self.compiled else self.backbone(image)
        return Encoded(features, self.head(features))

    def _passes(self, views: dict[int, View]) -> list[list[int]]:
        if any(isinstance(m, _BatchNorm) and m.training for m in self.modules()):
            return [[v] for v in views]
        sizes: dict[torch.Size, list[int]] = {}
        for v, view in views.items():
            sizes.setdefault(view.image.shape, []).append(v)
        return list(sizes.values())


@cache
def _program() -> Callable[[nn.Module, Tensor], Features]:
    """Return the pass through a network as torch.compile translates it, anew for every network, mode and size.

    Not at import: torch's compiler takes a second to load.
    """
    return torch.compile(lambda network, image: network(image))


def _split(joined: Encoded, count: int) -> list[Encoded]:
    features = [Features(*parts) for parts in zip(*(f.chunk(count) for f in joined.features), strict=True)]
    return [Encoded(f, of_each_head(joined.z, lambda z, i=i: z.chunk(count)[i])) for i, f in enumerate(features)]
