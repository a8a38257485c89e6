from sslab.ssl.core import Features
from torch import Tensor, nn


class Linear(nn.Module):
    def __init__(self, dim: int, in_dim: int) -> None:
        super().__init__()
        self.dim, self.layer = dim, nn.Linear(in_dim, dim)

    def forward(self, features: Features) -> Tensor:
        return self.layer(features.pooled)
