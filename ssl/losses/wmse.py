"""Agreement of two views that are whitened, so that they cannot collapse."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..core.draws import mix, permutation
from ..core.errors import UserError
from ..core.step import Step
from .base.batch_loss import BatchLoss


class WMSE(BatchLoss):
    """The distance of whitened views (W-MSE: Ermolov et al. 2021).

    With w(z) the embeddings of a random part of the global batch, whitened by the Cholesky factor L of their shrunk
    covariance S, and cos the cosine of the two views of an image, as a mean over images and `iterations` partitions:

        loss = 2 - 2 cos(w(z), w(z')),    w(z) = L⁻¹(z - mean),    LLᵀ = (1 - shrinkage) S + shrinkage · tr(S)/D · I

    The parts are the same for both views and have `whitening_size` images or a few more, so that every image is in
    one; by default twice as many as dimensions. The paper has no shrinkage; as small as it is, only directions in
    which the embeddings have collapsed feel it.
    """

    def __init__(
        self,
        whitening_size: int | None = None,
        iterations: int = 1,
        shrinkage: float = 1e-5,
        dim: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if iterations < 1:
            raise UserError(f"wmse.iterations={iterations} is how many partitions to average over: choose 1 or more")
        if not 0 < shrinkage < 1:
            raise UserError(f"wmse.shrinkage={shrinkage} must keep covariances invertible: choose between 0 and 1")
        if dim is not None:
            check(whitening_size or 2 * dim, dim, batch_size)
        self.whitening_size, self.iterations, self.shrinkage = whitening_size, iterations, shrinkage

    def pair(
        self, query: Float[Tensor, "n d"], target: Float[Tensor, "n d"], step: Step
    ) -> dict[str, Float[Tensor, ""]]:
        parts = [part.to(query.device) for part in self.parts(step.key, *query.shape)]
        cosines = [cosine_similarity(self.whitened(query[part]), self.whitened(target[part])) for part in parts]
        similarity = torch.cat(cosines).mean()
        return {"loss": 2 - 2 * similarity, "whitened_similarity": similarity}

    def parts(self, key: int, n: int, dim: int) -> Iterator[Int[Tensor, " part"]]:
        """The images of every part of every partition."""
        count = max(1, n // (self.whitening_size or 2 * dim))
        for iteration in range(self.iterations):
            yield from permutation(mix(key, iteration), n).tensor_split(count)

    def whitened(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return whitened embeddings: in float64, where rounding cannot make a shrunk covariance indefinite."""
        centred = z.double() - z.double().mean(dim=0)
        covariance = torch.cov(centred.T)
        floor = self.shrinkage * covariance.diagonal().mean().clamp_min(1e-12)
        shrunk = (1 - self.shrinkage) * covariance + floor * torch.eye(z.shape[1]).to(covariance)
        factor = torch.linalg.cholesky_ex(shrunk).L  # unchecked, since a check makes a device wait
        return torch.linalg.solve_triangular(factor, centred.T, upper=False).T.to(z.dtype)


def check(whitening_size: int, dim: int, batch_size: int | None) -> None:
    """Refuses parts that have no invertible covariance."""
    if whitening_size <= dim:
        raise UserError(
            f"wmse.whitening_size={whitening_size} images have no invertible covariance of {dim} dimensions: "
            f"choose {2 * dim}, or a smaller head.dim"
        )
    if batch_size is not None and batch_size < whitening_size:
        raise UserError(
            f"wmse.whitening_size={whitening_size} images (by default 2·head.dim={2 * dim}) are more than "
            f"data.batch_size={batch_size}: choose a larger batch, or a smaller head.dim and whitening_size"
        )
