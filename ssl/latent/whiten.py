"""Whitening of embeddings in random groups of channels."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.distributed import gather
from ..core.draws import mix, permutation
from ..core.errors import UserError
from ..core.step import Step
from ..losses.ops.inverse_root import inverse_root
from .base import Part

STREAM = 80  # of random numbers


class Whiten(Part):
    """Shuffled group whitening (WhitenedCSE; Zhuo et al. 2023), for each view by a shuffle of its own.

    A permutation of the channels splits them into `groups` of d. With X the centred channels of a group and
    C = XᵀX / B over the global batch:

        Y = X ((1-ε) C + ε tr(C)/d I)^(-1/2),    ε = `shrinkage`

    after which the channels are put back. With one channel a group this is a batch norm without scale and shift. The
    gradient passes through the whitening matrix unless `detach_matrix` is on, as it is in the reference code.
    """

    def __init__(
        self,
        groups: int = 2,
        shrinkage: float = 1e-3,
        detach_matrix: bool = False,
        dim: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if groups < 1 or not 0 <= shrinkage <= 1:
            raise UserError(f"groups={groups} and shrinkage={shrinkage}: give 1 group or more, and 0 to 1")
        if dim is not None and dim % groups:
            raise UserError(f"{dim} channels do not split into groups={groups}: choose a divisor")
        if dim is not None and batch_size is not None and dim // groups > batch_size / 2:
            raise UserError(
                f"a batch of {batch_size} tells too little of groups of {dim // groups} channels: "
                f"take groups={-(-2 * dim // batch_size)} or more, or a larger batch"
            )
        self.groups, self.shrinkage, self.detach_matrix = groups, shrinkage, detach_matrix

    def check(self, step: Step) -> None:
        super().check(step)
        if len(step.memory):
            raise UserError("the memory holds embeddings that Whiten has not seen: put whiten before queue in `latent`")

    def change(self, step: Step) -> Step:
        q = {view: self.whiten(z, mix(step.key, STREAM, view)) for view, z in step.q.items()}
        k = {
            view: q[view] if step.q.get(view) is z else self.whiten(z, mix(step.key, STREAM, view))
            for view, z in step.k.items()
        }
        return step._replace(q=q, k=k)

    def whiten(self, z: Float[Tensor, "b d"], seed: int) -> Float[Tensor, "b d"]:
        order = permutation(seed, z.shape[1]).to(z.device)
        everyone = self._grouped(gather(z)[:, order])  # (B, g, d)
        mean = everyone.mean(dim=0)
        centred = everyone - mean
        covariance = self.shrunk(torch.einsum("bgi,bgj->gij", centred, centred) / len(centred))
        matrix = inverse_root(covariance.detach() if self.detach_matrix else covariance)
        white = torch.einsum("bgi,gij->bgj", self._grouped(z[:, order]) - mean, matrix)
        return white.flatten(1)[:, order.argsort()]

    def shrunk(self, covariance: Float[Tensor, "g d d"]) -> Float[Tensor, "g d d"]:
        variance = covariance.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        return torch.lerp(covariance, variance * torch.eye(covariance.shape[1]).to(variance), self.shrinkage)

    def _grouped(self, z: Float[Tensor, "b c"]) -> Float[Tensor, "b g d"]:
        return z.unflatten(1, (self.groups, -1))
