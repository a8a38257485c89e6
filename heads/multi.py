"""Several independent heads, computed together."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..ssl.core.errors import UserError
from ..ssl.core.step import Features


class MultiLinear(nn.Module):
    """A linear layer for each head, as one batched product; each is initialised as `nn.Linear` would be."""

    def __init__(self, heads: int, in_dim: int, dim: int) -> None:
        super().__init__()
        bound = in_dim**-0.5
        self.weight = nn.Parameter(torch.empty(heads, in_dim, dim).uniform_(-bound, bound))
        # Flat, as biases are: optimisers give no decay to what has one axis.
        self.bias = nn.Parameter(torch.empty(heads * dim).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "heads b in_dim"]) -> Float[Tensor, "heads b dim"]:
        return torch.baddbmm(self.bias.view(len(x), 1, -1), x, self.weight)


class MultiMLP(nn.Module):
    """linear - ReLU - linear for each head, on vectors that all heads share or on its own ones."""

    def __init__(self, heads: int, in_dim: int, hidden: int, dim: int) -> None:
        super().__init__()
        if heads < 1:
            raise UserError(f"heads={heads}: expected 1 or more")
        self.heads = heads
        self.net = nn.Sequential(MultiLinear(heads, in_dim, hidden), nn.ReLU(), MultiLinear(heads, hidden, dim))

    def forward(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b heads dim"]:
        own = x.transpose(0, 1) if x.ndim == 3 else x.expand(self.heads, *x.shape)
        return self.net(own).transpose(0, 1)


class MultiHead(nn.Module):
    """Head z_c = MLP_c(h) for c = 1 … heads, on the pooled features h (AMCL; Wang et al. 2024)."""

    def __init__(self, in_dim: int, hidden: int, dim: int, heads: int) -> None:
        super().__init__()
        self.net = MultiMLP(heads, in_dim, hidden, dim)
        self.dim, self.heads = dim, heads

    def forward(self, features: Features) -> Float[Tensor, "b heads dim"]:
        return self.net(features.pooled)


class MultiPredictor(nn.Module):
    """q_c = MLP_c(z) for c = 1 … heads, of the size of z; with `head=multi` each works on its own z_c."""

    def __init__(self, in_dim: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.net = MultiMLP(heads, in_dim, hidden, in_dim)
        self.heads = heads

    def forward(self, z: Float[Tensor, "b *shape"]) -> Float[Tensor, "b heads dim"]:
        if z.ndim not in (2, 3) or (z.ndim == 3 and z.shape[1] != self.heads):
            raise UserError(
                f"predictor.heads={self.heads} works on a vector for each head or on one for all, but the head gives "
                f"{tuple(z.shape[1:])} for an image"
            )
        return self.net(z)
