"""Backbones: any timm model as `image -> Features`, with stems and patches that suit small images."""

import difflib
import logging
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from jaxtyping import Float
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from ..core.errors import UserError
from ..core.step import Features
from .weights import load_weights

SMALL = 65  # below this side ResNets keep their resolution in the stem and ViTs take small patches
log = logging.getLogger(__name__)


class Backbone(nn.Module):
    """A timm model without its classifier; `pooled`, `dense` and `tokens` are one last layer in three shapes.

    Only `dense` may be of the `previous` stage instead, or of the previous block of a ViT: of ResNets, C4 for C5.
    Training begins with a first convolution of trained filters, or of fixed ones that whiten patches of the images.
    """

    trunk: Any  # timm's models share their methods, but no type

    def __init__(
        self,
        name: str,
        size: int = 32,
        patch: int | None = None,
        weights: str | None = None,
        dense: Literal["last", "previous"] = "last",
        stem: Literal["trained", "whitened"] = "trained",
    ) -> None:
        super().__init__()
        if stem == "whitened" and weights is not None:
            raise UserError(
                "backbone.stem=whitened begins with filters of its own: set backbone.weights=null, or trained"
            )
        self.stem = stem
        self.trunk, about = _resnet_tiny() if name == "resnet_tiny" else _timm(name, size, patch)
        self.name, self.size = name, size
        self.dim: int = self.trunk.num_features
        self.dense = dense
        self.dense_dim: int = self.dim if dense == "last" else self.trunk.feature_info[-2]["num_chs"]
        self.multiple: int = self.trunk.patch_embed.patch_size[0] if _any_size(self.trunk) else 1
        self.convolutional = any(isinstance(m, nn.Conv2d) and m.kernel_size != m.stride for m in self.trunk.modules())
        if self.convolutional:
            self.trunk.to(memory_format=torch.channels_last)
        if weights is not None:
            load_weights(self.trunk, Path(weights))
        log.info("backbone %s at %d px%s: %.1fM parameters", name, size, about, _millions(self))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Features:
        height, width = image.shape[2:]
        self.check(height, width)
        if self.convolutional:
            image = image.contiguous(memory_format=torch.channels_last)
        if self.dense == "last":
            last, previous = self.trunk.forward_features(image), None
        else:
            last, (previous, _) = self.trunk.forward_intermediates(image, indices=2)
        pooled = self.trunk.forward_head(last, pre_logits=True)
        of_last = self._map(last, height, width)
        return Features(pooled, of_last if previous is None else previous, of_last.flatten(2).transpose(1, 2))

    def check(self, height: int, width: int) -> None:
        """Refuse views that do not divide into patches."""
        if height % self.multiple or width % self.multiple:
            raise UserError(
                f"backbone {self.name} takes images whose sides are multiples of {self.multiple} px, but a view has "
                f"{width}x{height}: change the size of the views, backbone.patch or the backbone"
            )

    def _map(self, last: Tensor, height: int, width: int) -> Float[Tensor, "b d h w"]:
        """The last layer as a map: tokens without their prefix in rows, or channels moved to the front."""
        if last.ndim == 4:
            return last if last.shape[1] == self.dim else last.permute(0, 3, 1, 2)
        grid = self.trunk.patch_embed.dynamic_feat_size((height, width))
        prefix = getattr(self.trunk, "num_prefix_tokens", 0)
        return last[:, prefix:].transpose(1, 2).unflatten(2, grid)


def _resnet_tiny() -> tuple[nn.Module, str]:
    """A ResNet of 0.3M parameters for small images: a stem of 16 channels and three stages of one block."""
    block: Any = BasicBlock  # timm's annotation means the class, but says an instance
    trunk = ResNet(block, (1, 1, 1, 1), num_classes=0, channels=(16, 32, 64, 128))
    trunk.bn1 = nn.BatchNorm2d(16)
    trunk.layer1 = nn.Identity()
    return _small_stem(trunk), " (3x3 stem, stride 1, no pool)"


def _timm(name: str, size: int, patch: int | None) -> tuple[nn.Module, str]:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        raise UserError(f"backbone.name={name} is no timm model; near: {', '.join(near) or 'none'}")
    if name.startswith("vit_") or patch is not None:
        return _vit(name, size, patch or _patch(size))
    trunk = timm.create_model(name, num_classes=0)
    if isinstance(trunk, ResNet) and size < SMALL:
        return _small_stem(trunk), " (3x3 stem, stride 1, no pool)"
    return trunk, ""


def _vit(name: str, size: int, patch: int | None) -> tuple[nn.Module, str]:
    """Return a ViT with patches of that side, or of the model's own, and words about it."""
    options: dict[str, Any] = {"num_classes": 0, "img_size": size} | ({"patch_size": patch} if patch else {})
    try:
        trunk: Any = timm.create_model(name, dynamic_img_size=True, **options)
    except TypeError:  # its positions cannot be interpolated
        trunk = timm.create_model(name, **options)
    side = trunk.patch_embed.patch_size[0]
    if size % side:
        raise UserError(f"images of {size} px do not divide into patches of {side}: set backbone.patch to a divisor")
    return trunk, f" (patch {side})"


def _any_size(trunk: Any) -> bool:
    """Tell whether it is a ViT that interpolates its positions, so that small crops may be small."""
    return getattr(trunk, "dynamic_img_size", False)


def _patch(size: int) -> int | None:
    """A quarter of a small image, from 4 to 8; None: the model's own."""
    return min(8, max(4, size // 4)) if size < SMALL else None


def _small_stem(trunk: Any) -> nn.Module:
    trunk.conv1 = nn.Conv2d(3, trunk.bn1.num_features, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
    trunk.maxpool = nn.Identity()
    return trunk


def _millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6
