"""Clusters of features by direction."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from .exact import load_faiss, units

FITTED = 16_384  # rows per cluster that centroids are fitted to, at most
CELLS = 1 << 28  # and numbers in all of them


def spherical_kmeans(
    features: Float[Tensor, "n d"], k: int, seed: int, iterations: int = 100, restarts: int = 3
) -> Int[Tensor, " n"]:
    """The cluster of every row: max_a Σ_i x_i · c_{a_i} over unit vectors x and unit centroids c.

    The best of `restarts`; the same for the same seed. With very many rows the centroids are fitted to a part of them.
    """
    if not 1 <= k <= len(features):
        raise UserError(f"k-means with {k} clusters: expected 1 to {len(features)}, the number of images")
    d = features.shape[1]
    fitted = min(len(features), FITTED * k, max(k, CELLS // d))
    some = features if fitted == len(features) else features[permutation(mix(seed), len(features))[:fitted]]
    options = {"niter": iterations, "nredo": restarts, "seed": mix(seed) >> 33}  # FAISS takes 31 bits
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": fitted}
    means = load_faiss().Kmeans(d, k, spherical=True, **options, **limits)
    means.train(torch.cat(list(units(some))).numpy())
    return torch.cat([torch.from_numpy(means.assign(part.numpy())[1]) for part in units(features)])
