"""Networks that judge images and are never trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from ...datamodules.generate.fingerprint import fingerprint
from ..core.errors import UserError
from ..core.run_folder import read
from ..model.backbones import Backbone
from .of_run import trained_backbone

Number = float | int


class Frozen:
    """A backbone in eval mode, and images as it was trained to see them.

    It is no module: what holds it does not train it, save it or copy it, and it goes to the device of what it is shown.

    Args:
        weights: a safetensors file, as timm publishes them; or a run folder, which says all else itself.
        name: of the model in timm.
        size: of its images, in pixels; None, here and below: as timm, or the run, has trained the model.
        mean: of their channels.
        std: likewise.
        precision: as Lightning names it; `bf16…` and `16…` hold and compute all in that type.
    """

    def __init__(
        self,
        weights: str | None,
        name: str | None = None,
        size: int | None = None,
        mean: Sequence[Number] | None = None,
        std: Sequence[Number] | None = None,
        precision: str | None = None,
    ) -> None:
        if weights is None:
            raise UserError(_where_to_put_them(name))
        path, self.precision = Path(weights).expanduser().resolve(), precision or "32-true"
        given = {"size": size, "mean": mean, "std": std}
        if path.is_dir():
            self.backbone: Any = trained_backbone(path)
            seen: dict[str, Any] = read(path)["plain_view"] | {k: v for k, v in given.items() if v is not None}
        else:
            seen = _as_timm_has(name, given)
            self.backbone = Backbone(name or "", seen["size"], weights=str(path))
        self.backbone.requires_grad_(False).eval().to(self.dtype)
        self.size, self.mean, self.std = (seen[key] for key in ("size", "mean", "std"))
        self.settings = {"weights": str(path), "name": name, "size": self.size, "mean": self.mean, "std": self.std}
        self.fingerprint = fingerprint([path / "backbone.safetensors" if path.is_dir() else path])
        self.device = torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights, and of all that it computes."""
        if "16" not in self.precision:
            return torch.float32
        return torch.bfloat16 if self.precision.startswith("bf16") else torch.float16

    @property
    def dim(self) -> int:
        """The length of its patches' features."""
        return self.backbone.dense_dim

    def __call__(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d h2 w2"]:
        """The patches of images that are normalised and of the right size."""
        if self.device != image.device:
            self.device = image.device
            self.backbone.to(image.device)
        with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
            return self.backbone(image.to(self.dtype)).dense.float()

    def look(
        self, image: Float[Tensor, "b 3 h w"], mean: Sequence[Number], std: Sequence[Number]
    ) -> Float[Tensor, "b d h2 w2"]:
        """The patches of images that were normalised by another mean and std, or are of another size."""
        if image.shape[2:] != (self.size, self.size):
            image = interpolate(image, (self.size, self.size), mode="bilinear", antialias=True)
        if (*mean, *std) != (*self.mean, *self.std):
            theirs, mine = image.new_tensor([[mean, std], [self.mean, self.std]])[..., None, None]
            image = (image * theirs[1] + theirs[0] - mine[0]) / mine[1]
        return self(image)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Frozen":
        return self


def _as_timm_has(name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return what is `given`, and the rest from timm's description of the model."""
    described = timm.get_pretrained_cfg(name) if name and timm.is_model(name) else None
    known: dict[str, Any] = (
        {"size": described.input_size[-1], "mean": described.mean, "std": described.std} if described else {}
    )
    seen: dict[str, Any] = {key: known.get(key) if value is None else value for key, value in given.items()}
    if None in seen.values():
        raise UserError(
            f"an encoder named {name} is none that timm has weights of: give its name there, or its size, mean and std "
            "as well, or a run folder as its weights"
        )
    return {"size": seen["size"], **{key: list[Number](seen[key]) for key in ("mean", "std")}}


def _where_to_put_them(name: str | None) -> str:
    described = timm.get_pretrained_cfg(name) if name and timm.is_model(name) else None
    source = f" (timm's are model.safetensors of huggingface.co/{described.hf_hub_id})" if described else ""
    return (
        f"the encoder {name} has no weights: put them on this machine{source} and set foreground.encoder.weights to "
        "the file, or to a run folder; nothing is downloaded"
    )
