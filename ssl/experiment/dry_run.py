"""A step on nothing and on noise, before anything is read or written: what parts give, and whether they fit."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..core.step import Batch, Step, View, of_each_head
from ..model.encoder import Encoder
from ..model.module import Module


@torch.no_grad()
def two_embeddings(encoder: Encoder, predictor: nn.Module, side: int) -> tuple[Any, Any]:
    """The query and the target of two blank images: of the shapes that training will have."""
    for part in (encoder, predictor):
        part.eval()
    target = encoder({0: blank(2, side)})[0].z
    query = predictor(target)
    for part in (encoder, predictor):
        part.train()
    return query, target


@torch.no_grad()
def rehearse(module: Module, query: Any, target: Any, side: int, size: int, classes: int) -> None:
    """Refuse latent parts and a loss that do not fit together: on noise of the shapes of `query` and `target`."""
    torch.manual_seed(0)

    def noise(two: Tensor) -> Tensor:
        return torch.randn(size, *two.shape[1:])

    q = {v: of_each_head(query, noise) for v in module.online_views}
    k = {v: of_each_head(target, noise) for v in module.target_views}
    label = torch.arange(size) % classes if classes else torch.full((size,), -1)
    batch = Batch.of(torch.zeros(size, 3, 0, 0, dtype=torch.uint8), label=label)
    step = Step.of(q, k, batch, views=(blank(size, side),) * (1 + max(q.keys() | k.keys())))
    latent: Any = copy.deepcopy(module.latent)
    for part in latent:
        step = part.rehearse(step)
    copy.deepcopy(module.loss)(step)


def blank(size: int, side: int) -> View:
    """A view of `size` images of which nothing is seen, and which take no memory."""
    image, box = torch.zeros(1, 3, side, side), torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    return View(image.expand(size, -1, -1, -1), box.expand(size, -1), torch.zeros(1, dtype=torch.bool).expand(size))
