"""Teachers: where the target embeddings k come from."""

import copy
import math
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..core.step import View, of_each_head
from .encoder import Encoder


class Siamese(nn.Module):
    """k = z: both sides of a pair are one network, and both get its gradient (SimCLR, Barlow Twins, VICReg)."""

    shared = True  # targets come from the online embeddings

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()

    def forward(self, views: dict[int, View], z: dict[int, Any]) -> dict[int, Any]:
        return {v: z[v] for v in views}

    def update(self, encoder: Encoder, progress: float) -> None:
        """Do nothing: the teacher is the online network."""


class StopGradient(Siamese):
    """k = sg(z): the same network, whose targets are constants (SimSiam; Chen & He 2021)."""

    def forward(self, views: dict[int, View], z: dict[int, Any]) -> dict[int, Any]:
        return {v: of_each_head(z[v], torch.detach) for v in views}


class EMA(nn.Module):
    """k = z of a network whose weights θ' follow the online weights θ (Tarvainen & Valpola 2017; BYOL, MoCo).

    After every optimiser step  θ' ← m θ' + (1 - m) θ,  m = end - (end - start)(1 + cos(π progress)) / 2,
    for the weights and the norm layers' running statistics alike. The teacher normalises with these statistics
    (`norm="ema"`: EMAN, Cai et al. 2021), or with those of its own batch (`norm="batch"`: BYOL and MoCo as published).
    """

    shared = False

    def __init__(
        self, encoder: Encoder, start: float = 0.99, end: float = 1.0, norm: Literal["ema", "batch"] = "ema"
    ) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.start, self.end, self.norm = start, end, norm
        self.train()

    def train(self, mode: bool = True) -> "EMA":
        """Stay in eval mode, but for batch norms that are to use their batch."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.training = mode and self.norm == "batch"
        return self

    @torch.no_grad()
    def forward(self, views: dict[int, View], z: dict[int, Any]) -> dict[int, Any]:
        return {v: encoded.z for v, encoded in self.encoder(views).items()}

    def momentum(self, progress: float) -> float:
        return self.end - (self.end - self.start) * (1 + math.cos(math.pi * progress)) / 2

    @torch.no_grad()
    def update(self, encoder: Encoder, progress: float) -> None:
        m = self.momentum(progress)
        average = get_ema_multi_avg_fn(m)
        average(tuple(self.encoder.parameters()), tuple(encoder.parameters()), 0)
        for mine, theirs in zip(self.encoder.buffers(), encoder.buffers(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - m)
            else:
                mine.copy_(theirs)
