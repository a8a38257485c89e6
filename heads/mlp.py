"""Projectors and predictors: a stack of linear layers on the pooled features, or on an embedding."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from ..ssl.errors import UserError
from ..ssl.step import Features

Norm = Literal["batch", "layer", "none"]


def mlp(in_dim: int, hidden: int, dim: int, layers: int, norm: Norm, last_norm: Norm) -> nn.Sequential:
    """`layers` linear maps in_dim → hidden → … → dim with norm and ReLU between them; none at all for 0 layers.

    A norm that follows makes a bias of its own superfluous. A batch norm after the last layer has no affine part, as in
    SimSiam; a layer norm always has.
    """
    widths = [in_dim, *[hidden] * (layers - 1), dim]
    stack: list[nn.Module] = []
    for i in range(layers):
        kind, last = (norm, False) if i < layers - 1 else (last_norm, True)
        stack += [nn.Linear(widths[i], widths[i + 1], bias=kind == "none"), *_norm(kind, widths[i + 1], not last)]
        stack += [] if last else [nn.ReLU(inplace=True)]
    return nn.Sequential(*stack)


def _norm(kind: Norm, dim: int, affine: bool) -> list[nn.Module]:
    if kind == "none":
        return []
    return [nn.BatchNorm1d(dim, affine=affine) if kind == "batch" else nn.LayerNorm(dim)]


class Projector(nn.Module):
    """Head z = mlp(h) on the pooled features h; 0 layers leave h as it is."""

    def __init__(
        self, in_dim: int, hidden: int, dim: int, layers: int = 2, norm: Norm = "batch", last_norm: Norm = "none"
    ) -> None:
        super().__init__()
        self.net = mlp(in_dim, hidden, dim, layers, norm, last_norm)
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
