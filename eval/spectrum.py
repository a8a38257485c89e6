"""How many dimensions embeddings use."""

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-7


def rankme(z: Float[Tensor, "n d"], centred: bool = False) -> Float[Tensor, ""]:
    """Effective rank exp(−Σ p_k log p_k), p_k = σ_k / Σσ + 1e-7 (Garrido et al., 2023).

    σ are the singular values of z as it is; `centred` takes the mean off first, which a common offset would
    otherwise turn into the one large σ. Readings compare for one layer, one architecture and one n only.
    """
    z = z.double()
    if centred:
        z = z - z.mean(0)
    gram = z.T @ z if len(z) > z.shape[1] else z @ z.T  # in float64 its eigenvalues give σ / σ_1 to 1e-8, below ε
    sigma = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    p = sigma / sigma.sum() + EPSILON
    return (-(p * p.log()).sum()).exp()
