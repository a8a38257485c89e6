"""Spread of the embeddings over the sphere, as a term beside another loss."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..core.points import Points
from ..core.step import Step
from .base.contrast import Everyone, local
from .base.heads import over_heads
from .base.output import Output
from .base.precision import full_precision
from .ops.nearest import CHUNK, nearest

EPSILON = 1e-8


class KoLeo(nn.Module):
    """The Kozachenko-Leonenko estimate of the entropy, negated (Sablayrolles et al. 2019).

    With d_i the distance of query i, a unit vector, to the nearest query of its view that shows another image of its
    group in the global batch:

        loss_i = -log d_i

    as a mean over views, of which one is enough. At d_i below 1e-8 it is flat, and 0 for an image without others.
    """

    def __init__(self, chunk: int = CHUNK) -> None:
        super().__init__()
        self.chunk = chunk

    @full_precision
    @over_heads
    def forward(self, step: Step) -> Output:
        step = step._replace(q={view: normalize(z, dim=-1, eps=1e-12) for view, z in step.q.items()})
        everyone = Everyone(step)
        values = [self.view(local(step, z), everyone.points(z)) for z in step.q.values()]
        loss, distance = (torch.stack(value).mean(dim=0) for value in zip(*values, strict=True))
        return Output.mean(step.weight, loss=loss, nearest_distance=distance)

    def view(self, query: Points, everyone: Points) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """The loss, and the distance itself."""
        similarity, neighbour = nearest(
            query.z.detach(), everyone.z.detach(), lambda part: query.part(part).excluded(everyone), 1, self.chunk
        )
        alone = similarity[:, 0] == -torch.inf
        squared = (query.z - everyone.z[neighbour[:, 0]]).square().sum(dim=1).masked_fill(alone, 1)
        return -0.5 * (squared + EPSILON**2).log(), squared.detach().sqrt()
