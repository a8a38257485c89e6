from sslab.ssl.core import Features
from torch import Tensor, nn


class Small(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.trunk = nn.Sequential(nn.Conv2d(3, dim, 3, 2), nn.ReLU(), nn.Conv2d(dim, dim, 3, 2))

    def forward(self, image: Tensor) -> Features:
        dense = self.trunk(image)
        return Features(dense.mean((2, 3)), dense, dense.flatten(2).mT)
