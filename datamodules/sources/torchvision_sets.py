"""Published data sets by torchvision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torchvision import datasets

from ...ssl.core.errors import UserError
from ..reading.images import Stack

Name = Literal["cifar10", "cifar100", "stl10", "fashion_mnist"]

# Per data set: its class, and the arguments for the train and the test split.
SETS: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
    "cifar10": (datasets.CIFAR10, {"train": True}, {"train": False}),
    "cifar100": (datasets.CIFAR100, {"train": True}, {"train": False}),
    "stl10": (datasets.STL10, {"split": "train+unlabeled"}, {"split": "test"}),
    "fashion_mnist": (datasets.FashionMNIST, {"train": True}, {"train": False}),
}


class Vision:
    """CIFAR, STL-10 (trained on with its unlabelled images) or Fashion-MNIST, which torchvision reads whole.

    Args:
        dataset: which one.
        root: folder of torchvision's data sets.
        download: whether to fetch what is missing.
    """

    def __init__(self, dataset: Name, root: str, download: bool = False) -> None:
        make, train, test = SETS[dataset]
        folder = Path(root).expanduser()
        try:
            self.train, self.test = (_stack(make(folder, download=download, **part)) for part in (train, test))
        except RuntimeError as error:
            remedy = "set data.download=true to fetch it, or data.root to where it is"
            raise UserError(f"{dataset} is missing or damaged in {folder}: {remedy}") from error


def _stack(images: Any) -> Stack:
    """Its images, which torchvision keeps as (n, H, W, 3), (n, 3, H, W) or grey (n, H, W)."""
    stack = torch.as_tensor(images.data)
    if stack.ndim == 3:
        stack = stack[:, None].expand(-1, 3, -1, -1)
    elif stack.shape[-1] == 3:
        stack = stack.permute(0, 3, 1, 2)
    label = torch.as_tensor(images.targets if hasattr(images, "targets") else images.labels).long()
    return Stack.of(stack.contiguous(), label, tuple(images.classes))
