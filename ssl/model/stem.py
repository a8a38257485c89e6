"""A first convolution that whitens, and is not trained."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import unfold

from ..core.errors import UserError

SHRINK = 1e-2  # added to eigenvalues, so that components of no variance are not blown up


@torch.no_grad()
def whiten_stem(trunk: nn.Module, images: Float[Tensor, "b 3 h w"]) -> None:
    """Set the filters of the first convolution to whitened principal components of patches, and fix them.

    With the covariance U diag(λ) Uᵀ of patches as large as the filters, these are uᵢ / √(λᵢ + ε) and -uᵢ / √(λᵢ + ε)
    for the largest λ (Jordan 2024, after Page 2019), scaled to the deviation of those that they replace. Where
    there are more filters than twice the components, the rest stay as they are.
    """
    convolution: Any = next((module for module in trunk.modules() if isinstance(module, nn.Conv2d)), None)
    if convolution is None:
        raise UserError(f"backbone.stem=whitened needs a convolution, and {type(trunk).__name__} has none: leave it")
    weight = convolution.weight
    patches = unfold(images, weight.shape[2:]).transpose(1, 2).flatten(0, 1)  # (patches, 3·h·w)
    values, vectors = torch.linalg.eigh(patches.T.cov())
    whitening = (vectors / (values + SHRINK).sqrt()).flip(1).T[: len(weight) // 2]
    filters = torch.cat([whitening, -whitening])
    weight[: len(filters)] = filters.unflatten(1, weight.shape[1:]) * weight.std() / filters.std()
    weight.requires_grad_(False)
