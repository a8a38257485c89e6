import torch
from sslab.ssl.core import Batch, View


class Noisy:
    """The whole image with noise on it."""

    targets = (0, 1)

    def __init__(self, size: int, mean: list[float], std: list[float], noise: float = 0.1, count: int = 2) -> None:
        self.sides, self.mean, self.std, self.noise, self.count = {size}, mean, std, noise, count

    def __call__(self, batch: Batch) -> tuple[View, ...]:
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(batch.row), 4)
        mean, std = (torch.tensor(x)[:, None, None] for x in (self.mean, self.std))
        image = (batch.images / 255 - mean) / std
        unturned = torch.zeros(len(batch.row), dtype=torch.bool)
        return tuple(View(image + self.noise * torch.randn_like(image), whole, unturned) for _ in range(self.count))
