"""Heads of maps: the projector and the predictor of every pixel."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..ssl.core.errors import UserError
from ..ssl.core.step import Features
from .mlp import LastNorm, Norm, mlp

EPSILON = 1e-6


class DenseHead(nn.Module):
    """Head z = mlp(h) on every pixel h of the backbone's map: a stack of 1x1 convolutions (PixPro; Xie et al. 2021).

    The map is the backbone's to choose: `backbone.dense`.
    """

    map_only = True  # what else the backbone gives has no part in it

    def __init__(
        self, dense_dim: int, hidden: int, dim: int, layers: int = 2, norm: Norm = "batch", last_norm: LastNorm = "none"
    ) -> None:
        super().__init__()
        self.net = mlp(dense_dim, hidden, dim, layers, norm, last_norm)
        self.dim = dim if layers else dense_dim

    def forward(self, features: Features) -> Float[Tensor, "b d h w"]:
        return of_each_pixel(self.net, features.dense)


class Propagation(nn.Module):
    """Predictor that lets every pixel see those like it (PixPro; Xie et al. 2021).

    With g a stack of `layers` 1x1 convolutions, and j all pixels of the map, i itself among them:

        q_i = Σ_j max(cos(z_i, z_j), 0)^gamma · g(z_j) / |g(z_j)|

    For gamma below 1 the cosines are raised by 1e-6, since such a power has no slope at 0.
    """

    def __init__(self, in_dim: int, gamma: float = 2.0, layers: int = 1, norm: Norm = "batch") -> None:
        super().__init__()
        if gamma <= 0:
            raise UserError(f"predictor.gamma={gamma} is the power of cosines: give one above 0")
        self.net = mlp(in_dim, in_dim, in_dim, layers, norm, "none")
        self.gamma = gamma

    def forward(self, z: Float[Tensor, "b ..."]) -> Float[Tensor, "b d h w"]:
        if z.ndim != 4:
            raise UserError("predictor=propagation works on maps, but the head gives none: choose head=dense")
        pixel = normalize(z.flatten(2), dim=1)  # (b, d, h·w)
        affinity = (pixel.mT @ pixel).clamp_min(0)  # (b, h·w, h·w)
        affinity = (affinity + EPSILON if self.gamma < 1 else affinity).pow(self.gamma)
        value = normalize(of_each_pixel(self.net, z).flatten(2), dim=1)
        return (value @ affinity).unflatten(2, z.shape[2:])  # affinity is symmetric


def of_each_pixel(net: nn.Module, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
    """Return what a network of vectors makes of every pixel."""
    b, _, h, w = z.shape
    return net(z.permute(0, 2, 3, 1).flatten(0, 2)).unflatten(0, (b, h, w)).permute(0, 3, 1, 2)
