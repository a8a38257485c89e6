"""A frozen encoder with random weights, and a direction among its patches."""

from pathlib import Path

import torch
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.weights import save_weights
from sslab.ssl.pretrained.foreground import Foreground
from sslab.ssl.pretrained.frozen_encoder import Frozen

DIM = 128  # of its patches
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]


def encoder(folder: Path, size: int = 32) -> Frozen:
    """A resnet_tiny of images of that size."""
    file = folder / "encoder.safetensors"
    if not file.exists():
        torch.manual_seed(0)
        save_weights(Backbone("resnet_tiny").trunk, file, {})
    return Frozen(str(file), "resnet_tiny", size, MEAN, STD)


def save_foreground(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    direction = torch.randn(DIM, generator=torch.Generator().manual_seed(1))
    Foreground(direction / direction.norm(), 0.0, encoder(folder)).save(folder)
    return str(folder)
