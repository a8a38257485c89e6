"""Backbone weights on disk: written as safetensors, read from any file that holds them."""

import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..core.errors import UserError
from ..core.run_folder import load

WITHIN = "encoder.backbone.trunk."  # where a checkpoint of a run keeps them


def save_weights(trunk: nn.Module, file: Path, about: dict[str, str]) -> None:
    """Whole or not at all."""
    draft = file.with_name(file.name + ".tmp")
    save_file({k: v.contiguous() for k, v in trunk.state_dict().items()}, draft, metadata=about)
    os.replace(draft, file)


def load_weights(trunk: nn.Module, file: Path) -> None:
    """Load a run folder, its checkpoint or a safetensors file, all weights or none."""
    expected = trunk.state_dict()
    weights = {k: v for k, v in _read(_find(file)).items() if k in expected or not _of_classifier(trunk, k)}
    wrong = [k for k in {**expected, **weights} if not _fits(weights.get(k), expected.get(k))]
    if wrong:
        raise UserError(
            f"{file} holds another backbone: {len(wrong)} of {len(expected)} weights differ in name or shape "
            f"(first: {wrong[0]}); choose the backbone and data.size it was trained with"
        )
    trunk.load_state_dict(weights)


def _find(file: Path) -> Path:
    return file / "backbone.safetensors" if file.is_dir() else file


def _of_classifier(trunk: Any, name: str) -> bool:
    """Tell whether a weight of that name is of the classifier that timm's files have and backbones leave out."""
    layers = (getattr(trunk, "pretrained_cfg", None) or {}).get("classifier") or ()
    return name.rpartition(".")[0] in ((layers,) if isinstance(layers, str) else layers)


def _fits(given: Tensor | None, expected: Tensor | None) -> bool:
    return given is not None and expected is not None and given.shape == expected.shape


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise UserError(f"backbone.weights={file} does not exist")
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except SafetensorError as error:
            raise UserError(f"{file} is no safetensors file: {error}") from None
    content = load(file).get("state_dict", {})
    weights = {k.removeprefix(WITHIN): v for k, v in content.items() if k.startswith(WITHIN)}
    if not weights:
        raise UserError(f"{file} holds no backbone: expected a run folder, its checkpoint or a safetensors file")
    return weights
