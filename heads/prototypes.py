"""The head of clustering losses: scores of learned prototypes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from ..ssl.core.errors import UserError
from ..ssl.core.step import Features
from .mlp import Activation, LastNorm, Norm, mlp


class Prototypes(nn.Module):
    """Head z_c = cosine of mlp(h) and prototype c, of the pooled features h (SwAV: Caron et al. 2020, Eq. 2).

    Prototypes are normalised when they are used. SwAV normalises its own after every step, and DINO's last layer has
    a weight norm of constant gain 1 (Caron et al. 2021): both are this function. They are a part of the head, and not
    of the loss, so that a teacher has its average of them.

    For the first `frozen_epochs` of a run of `epochs` the prototypes get no gradient, so that features come to fit
    them first; without `epochs` they are never frozen. Cosines are computed in float32, also inside autocast: a
    softmax sees them divided by a temperature of .05.
    """

    scores = True  # what it gives is no embedding

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        bottleneck: int,
        prototypes: int,
        layers: int = 2,
        norm: Norm = "batch",
        last_norm: LastNorm = "none",
        activation: Activation = "relu",
        frozen_epochs: float = 1.0,
        epochs: float | None = None,
    ) -> None:
        super().__init__()
        if prototypes < 2:
            raise UserError(f"head.prototypes={prototypes}: expected 2 or more, since one would be everybody's")
        self.net = mlp(in_dim, hidden, bottleneck, layers, norm, last_norm, activation)
        self.prototypes = nn.Parameter(_unit(torch.randn(prototypes, bottleneck if layers else in_dim)))
        self.dim = prototypes
        self.frozen_epochs, self.epochs = frozen_epochs, epochs

    def forward(self, features: Features) -> Float[Tensor, "b c"]:
        z = self.net(features.pooled)
        with torch.autocast(z.device.type, enabled=False):
            return linear(_unit(z), _unit(self.prototypes))

    def before_update(self, progress: float) -> None:
        if self.epochs is not None and progress * self.epochs < self.frozen_epochs - 1e-6:  # 1 may come out as 0.9…
            self.prototypes.grad = None  # rather than zero, by which momentum and decay would still move them


def _unit(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=1)
