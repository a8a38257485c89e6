"""The pipelines of diffusers, from folders of this machine and nowhere else."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...ssl.core.errors import UserError
from .fingerprint import fingerprint

INDEX = "model_index.json"  # diffusers writes it last, so a folder with it is whole
Kind = Literal["DiffusionPipeline", "DDPMPipeline", "DDIMPipeline"]


class Pipeline:
    """One of them: what decides its images are its `settings`, and it `accepts` certain arguments.

    Args:
        folder: where diffusers saved it.
        kind: its class; `DiffusionPipeline`: the one that the folder names.
        device: where it computes.
        precision: as Lightning names it; `bf16…` and `16…` compute in that type.
    """

    def __init__(self, folder: str, kind: Kind, device: torch.device | None, precision: str | None) -> None:
        self.device = device or torch.device("cpu")
        self.precision = precision or "32-true"
        path = Path(folder).expanduser()
        self.pipeline = _load(path, kind).to(self.device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.accepts = inspect.signature(self.pipeline.__call__).parameters.keys()
        self.settings = {
            "model": f"{path.resolve().name}:{fingerprint(_files(path))}",
            "pipeline": type(self.pipeline).__name__,
            "device": self.device.type,
            "precision": self.precision,
        }

    def __call__(self, noise: Sequence[torch.Generator], **arguments: Any) -> list[UInt8[Tensor, "c h w"]]:
        """One image for each noise."""
        try:
            with self._cast():
                images = self.pipeline(generator=list(noise), output_type="np", **arguments).images
        except ValueError as error:  # such as more steps than it was trained on
            raise UserError(f"{self.settings['pipeline']} refuses this: {str(error).splitlines()[0]}") from error
        return list(torch.from_numpy(images).mul(255).round().byte().permute(0, 3, 1, 2))

    def _cast(self) -> torch.autocast:
        half = torch.bfloat16 if self.precision.startswith("bf16") else torch.float16
        return torch.autocast(self.device.type, half, enabled="16" in self.precision)


def diffusers() -> Any:
    """The library, which is an extra, without its progress bars."""
    try:
        import diffusers
        import transformers
    except ModuleNotFoundError as error:
        raise UserError(f"a generator needs {error.name}: pip install 'sslab[generate]'") from error
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    return diffusers


def _load(folder: Path, kind: Kind) -> Any:
    library = diffusers()
    if not (folder / INDEX).is_file():
        raise UserError(
            f"generator.folder={folder} holds no pipeline of diffusers (no {INDEX}): put one there, or train one by "
            "train_generator=ddpm; nothing is downloaded"
        )
    quick = library.utils.is_accelerate_available()  # else diffusers would tell the user to install it
    try:
        return getattr(library, kind).from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=quick)
    except (OSError, ImportError, ValueError) as error:
        raise UserError(f"generator.folder={folder} cannot be loaded: {str(error).splitlines()[0]}") from error


def _files(folder: Path) -> list[Path]:
    """Return the files of the pipeline: what else is in the folder is not part of it."""
    parts = [folder / name for name in json.loads((folder / INDEX).read_text())]
    inside = [path for part in parts if part.is_dir() for path in part.rglob("*")]
    return sorted(path for path in [*folder.iterdir(), *inside] if path.is_file())
