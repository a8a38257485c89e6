"""A linear classifier of images, and the backbone below it, which may learn too."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from timm.optim import (
    param_groups_layer_decay,  # pyright: ignore[reportPrivateImportUsage]
    param_groups_weight_decay,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor, nn
from torch.nn.utils import skip_init

from ...ssl.core.draws import mix
from ...ssl.core.errors import UserError

Trunk = Literal["frozen", "fixed_statistics", "trained"]


class Classifier(nn.Module):
    """A linear layer on a copy of a backbone, which is left as it is.

    Args:
        backbone: image → `Features`.
        trunk: whether the copy is frozen, is trained but for the statistics of its BatchNorm layers, or is trained.
        reads: the layers that the head sees side by side, by the names that the backbone has for them.
    """

    def __init__(self, backbone: nn.Module, trunk: Trunk, reads: Sequence[str] = ("h",)) -> None:
        super().__init__()
        layers = getattr(backbone, "layers", ("h",))
        if missing := [name for name in reads if name not in layers]:
            raise UserError(f"this backbone has no layer {', '.join(missing)}: read some of {', '.join(layers)}")
        self.backbone: Any = copy.deepcopy(backbone).requires_grad_(trunk != "frozen")
        self.trunk, self.reads = trunk, tuple(reads)
        self.head: nn.Module = nn.Identity()

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c"]:
        features = self.features(image)
        with torch.autocast(image.device.type, enabled=False):
            return self.head(features)

    def features(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        if self.reads == ("h",):
            return self.backbone(image).pooled.float()
        seen = self.backbone.named(image, self.reads)
        return torch.cat([seen[name] for name in self.reads], dim=1).float()

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        self.backbone.train(mode and self.trunk == "trained")
        return self

    def groups(self, peak: float, decay: float, head_scale: float, layer_decay: float) -> list[dict[str, Any]]:
        """All that learns, by rate and weight decay; norms and biases do not decay.

        The rate of the head is `head_scale` · peak. That of layer l below it, counted downwards from 1, is
        `layer_decay` ^ l · peak, a layer being what timm's model calls so: a block, or all before the first of them.
        """
        head = [{**group, "lr": head_scale * peak} for group in param_groups_weight_decay(self.head, decay)]
        return [group for group in [*self._layers(peak, decay, layer_decay), *head] if group["params"]]

    def _layers(self, peak: float, decay: float, layer_decay: float) -> list[dict[str, Any]]:
        if self.trunk == "frozen":
            return []
        model: Any = next((m for m in self.backbone.modules() if hasattr(m, "group_matcher")), None)
        if model is None and layer_decay != 1:
            raise UserError("layer_decay is for timm's models, which say what their layers are: set it to 1")
        if model is None:
            return [{**group, "lr": peak} for group in param_groups_weight_decay(self.backbone, decay)]
        spared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
        groups = param_groups_layer_decay(model, decay, spared, layer_decay=layer_decay)
        return [{**group, "lr": layer_decay * group["lr_scale"] * peak} for group in groups]


def linear_head(dim: int, classes: int, batch_norm: bool, init_std: float, seed: int) -> nn.Sequential:
    """A linear layer with weights from N(0, `init_std`²) and biases of 0, perhaps after a BatchNorm without weights."""
    linear: Any = skip_init(nn.Linear, dim, classes)  # its own initialisation would draw from the global generator
    with torch.no_grad():
        linear.weight.normal_(0, init_std, generator=torch.Generator().manual_seed(mix(seed)))
        linear.bias.zero_()
    return nn.Sequential(*([nn.BatchNorm1d(dim, affine=False)] if batch_norm else []), linear)
