"""Projectors and predictors: a stack of linear layers on the pooled features, or on an embedding."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from ..ssl.core.errors import UserError
from ..ssl.core.step import Features

Norm = Literal["batch", "layer", "none"]
LastNorm = Literal["batch", "batch_scale", "batch_affine", "layer", "none"]
Activation = Literal["relu", "gelu"]


def mlp(
    in_dim: int, hidden: int, dim: int, layers: int, norm: Norm, last_norm: LastNorm, activation: Activation = "relu"
) -> nn.Sequential:
    """`layers` linear maps in_dim → hidden → … → dim with norm and activation between them; none at all for 0 layers.

    A norm that follows makes a bias of its own superfluous. After the last layer `batch` has no affine part, as in
    SimSiam; `batch_scale` has a learned scale, and `batch_affine` a learned scale and shift. Other norms are affine.
    """
    widths = [in_dim, *[hidden] * (layers - 1), dim]
    between: LastNorm = "batch_affine" if norm == "batch" else norm
    stack: list[nn.Module] = []
    for i in range(layers):
        last = i == layers - 1
        kind = last_norm if last else between
        stack += [nn.Linear(widths[i], widths[i + 1], bias=kind == "none"), *_norm(kind, widths[i + 1])]
        if not last:
            stack.append(nn.GELU() if activation == "gelu" else nn.ReLU(inplace=True))
    return nn.Sequential(*stack)


def _norm(kind: LastNorm, dim: int) -> list[nn.Module]:
    if kind == "none":
        return []
    if kind == "layer":
        return [nn.LayerNorm(dim)]
    norm = nn.BatchNorm1d(dim, affine=kind != "batch")
    if kind == "batch_scale":
        norm.bias.requires_grad_(False)  # it stays 0
    return [norm]


class Projector(nn.Module):
    """Head z = mlp(h) on the pooled features h; 0 layers leave h as it is."""

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        dim: int,
        layers: int = 2,
        norm: Norm = "batch",
        last_norm: LastNorm = "none",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.net = mlp(in_dim, hidden, dim, layers, norm, last_norm, activation)
        self.dim = dim if layers else in_dim

    def forward(self, features: Features) -> Float[Tensor, "b d"]:
        return self.net(features.pooled)


class Predictor(nn.Module):
    """q = mlp(z), of the size of z, so that it can be compared with targets; 0 layers leave z as it is."""

    def __init__(self, in_dim: int, hidden: int, layers: int = 2, norm: Norm = "batch") -> None:
        super().__init__()
        self.net = mlp(in_dim, hidden, in_dim, layers, norm, "none")

    def forward(self, z: Float[Tensor, "b *shape"]) -> Float[Tensor, "b *shape"]:
        if z.ndim != 2:
            raise UserError(
                "predictor=mlp works on one vector per image, but the head gives others: choose predictor=propagation "
                "for maps, multi for several heads, or none"
            )
        return self.net(z)
