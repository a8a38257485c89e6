"""Hard negatives, mixed from those in the memory."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..core.draws import mix, uniforms
from ..core.errors import UserError
from ..core.points import Points
from ..core.step import Step
from ..losses.ops.nearest import CHUNK, nearest
from .base import Part

STREAM = 60  # of random numbers


class MoCHi(Part):
    """Adds synthetic hard negatives for every query (Kalantidis et al. 2020).

    With n_i and n_j drawn from the `hardest` negatives of query q in the memory, all of unit length:

        h  = unit(α n_i + (1-α) n_j),    α ~ U(0, 1)      `mixed` of them
        h' = unit(β q + (1-β) n_j),      β ~ U(0, 0.5)    `with_query` of them

    All are constants. Negatives are of the query's group and show another image; a query that has none, such as those
    of the first step, gets -q, which is farthest from it and does not turn it.
    """

    needs_memory = True

    def __init__(
        self,
        hardest: int = 1024,
        mixed: int = 1024,
        with_query: int = 128,
        from_epoch: int = 0,
        epochs: float | None = None,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__(from_epoch, epochs)
        if hardest < 1 or mixed < 0 or with_query < 0:
            raise UserError(
                f"hardest={hardest}, mixed={mixed} and with_query={with_query} are numbers of negatives: "
                "give 1 or more to draw from, and 0 or more to make"
            )
        self.hardest, self.mixed, self.with_query, self.chunk = hardest, mixed, with_query, chunk

    def change(self, step: Step) -> Step:
        if self.mixed + self.with_query == 0:
            return step
        memory = Points(unit(step.memory), step.memory_row, step.memory_group, step.memory_label)
        made = {}
        for view, q in step.q.items():
            query = Points(unit(q), step.row, step.group, step.batch.label)
            made[view] = self.synthesise(query, memory, step.batch.key, mix(STREAM, view))
        hard = {v: torch.cat([step.hard[v], h], dim=1) if v in step.hard else h for v, h in made.items()}
        return step._replace(hard=hard)

    def synthesise(self, query: Points, memory: Points, key: Int[Tensor, " b"], stream: int) -> Float[Tensor, "b s d"]:
        count = min(self.hardest, len(memory.z))
        similarity, place = nearest(
            query.z, memory.z, lambda part: query.part(part).excluded(memory), count, self.chunk
        )
        offered = (similarity > -torch.inf).sum(dim=1, keepdim=True)  # (b, 1): they come before the excluded ones
        s, t = self.mixed, self.with_query
        u = uniforms(key, stream, 3 * s + 2 * t).to(query.z.dtype)
        first, second, alpha, other, beta = u.split([s, s, s, t, t], dim=1)

        def drawn(u: Float[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
            return memory.z[place.gather(1, (u * offered).long())]

        of_two = between(drawn(first), drawn(second), alpha)
        of_query = between(query.z[:, None], drawn(other), beta / 2)
        hard = torch.cat([of_two, of_query], dim=1)
        return torch.where(offered[..., None] > 0, hard, -query.z[:, None])


def between(
    one: Float[Tensor, "b #s d"], other: Float[Tensor, "b s d"], weight: Float[Tensor, "b s"]
) -> Float[Tensor, "b s d"]:
    """The direction of weight · one + (1 - weight) · other."""
    return unit(torch.lerp(other, one, weight[..., None]))


def unit(x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
    return normalize(x.detach(), dim=-1)
