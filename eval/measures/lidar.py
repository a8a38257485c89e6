"""The number of dimensions that tell images apart beyond what their views scatter."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...ssl.core.errors import UserError
from .moments import CHUNK
from .spectrum import entropy_rank


def lidar(z: Float[Tensor, "n d"], group: Int[Tensor, " n"], delta: float = 1e-4) -> Float[Tensor, ""]:
    """Entropy rank of the eigenvalues of Σ_w^−½ Σ_b Σ_w^−½ (Thilak et al., 2024).

    `group` is the image of which a row is a view. Σ_b is the covariance of the images' means, Σ_w that of their views
    around them, pooled, plus δI. At most min(d, images − 1), so readings compare for one number of images only.
    """
    _, image, views = group.unique(return_inverse=True, return_counts=True)
    if len(views) < 2 or views.min() < 2:
        raise UserError(
            f"LiDAR needs two images or more with two views or more of each: got {views.tolist()[:8]} views"
        )
    mean = torch.zeros(len(views), z.shape[1], dtype=torch.float64)
    sigma_w = delta * torch.eye(z.shape[1], dtype=torch.float64)
    for rows in torch.arange(len(z)).split(CHUNK):
        mean.index_add_(0, image[rows], z[rows].double() / views[image[rows], None])
    for rows in torch.arange(len(z)).split(CHUNK):
        within = z[rows].double() - mean[image[rows]]
        sigma_w.addmm_(within.T, within, alpha=1 / (len(z) - len(views)))
    between = torch.linalg.solve_triangular(torch.linalg.cholesky(sigma_w), (mean - mean.mean(0)).T, upper=False)
    return entropy_rank(torch.linalg.svdvals(between).square() / (len(views) - 1))
