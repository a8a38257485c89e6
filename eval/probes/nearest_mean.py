"""The nearest-mean classifier, and episodes of it (Snell et al., 2017)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError


def nearest_mean(
    features: Float[Tensor, "n d"], label: Int[Tensor, " n"], queries: Float[Tensor, "m d"]
) -> Int[Tensor, " m"]:
    """The class whose mean is nearest by Euclidean distance; the lowest of equals."""
    classes, place, size = label.unique(return_inverse=True, return_counts=True)
    mean = torch.zeros(len(classes), features.shape[1]).index_add_(0, place, features.float()) / size[:, None]
    # ‖q − m‖² without ‖q‖², which all share
    return classes[(mean.square().sum(1) - 2 * queries.float() @ mean.T).argmin(1)]


def episodes(
    features: Float[Tensor, "n d"], label: Int[Tensor, " n"], ways: int, shots: int, queries: int, count: int, seed: int
) -> Float[Tensor, " {count}"]:
    """The accuracy in each of `count` tasks: `ways` classes, told by `shots` images each, with `queries` each to tell.

    The same tasks for the same seed and labels, whatever the features.
    """
    members = [(label == c).nonzero()[:, 0] for c in label[label >= 0].unique()]
    large = [rows for rows in members if len(rows) >= shots + queries]
    if len(large) < ways:
        images = f"{shots + queries} images ({shots} shots, {queries} queries)"
        raise UserError(f"{ways} ways: only {len(large)} classes have {images}")
    told = torch.arange(ways).repeat_interleave(shots)
    asked = torch.arange(ways).repeat_interleave(queries)
    found = []
    for episode in range(count):
        drawn = [large[c] for c in permutation(mix(seed, episode), len(large))[:ways].tolist()]
        rows = [r[permutation(mix(seed, episode, way), len(r))[: shots + queries]] for way, r in enumerate(drawn)]
        x = features[torch.stack(rows)].float()  # (ways, shots + queries, d)
        answer = nearest_mean(x[:, :shots].flatten(0, 1), told, x[:, shots:].flatten(0, 1))
        found.append((answer == asked).double().mean())
    return torch.stack(found)
