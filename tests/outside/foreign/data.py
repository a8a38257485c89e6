import torch
from sslab.datamodules import Stack


class Stripes:
    """Noise in two classes, one of which is darker."""

    def __init__(self, count: int, size: int) -> None:
        self.train, self.test = self.made(count, size, 0), self.made(count // 2, size, 1)

    def made(self, count: int, size: int, seed: int) -> Stack:
        label = torch.arange(count) % 2
        noise = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
        images = 255 * noise / (1 + label)[:, None, None, None]
        return Stack.of(images.to(torch.uint8), label, ("light", "dark"))
