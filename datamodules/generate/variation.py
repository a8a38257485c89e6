"""Images that show what another image shows."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from ...ssl.core.errors import UserError
from .levels import Levels
from .pipeline import Pipeline
from .request import Request


class Variation:
    """Images that an unCLIP pipeline of diffusers makes of an image's CLIP embedding (Ramesh et al. 2022).

    The noise level says how far the embedding is diffused first; the prompt is empty.

    Args:
        folder: where the pipeline is.
        steps: of denoising.
        guidance: weight of the embedding; 1: none.
        levels: a noise level from 0 to 999 for all images, or a table of `row` and `noise_level`.
        device: where it computes.
        precision: of its arithmetic.
    """

    def __init__(
        self,
        folder: str,
        steps: int = 20,
        guidance: float = 10.0,
        levels: int | str = 0,
        device: torch.device | None = None,
        precision: str | None = None,
    ) -> None:
        self.levels, self.steps, self.guidance = Levels(levels), steps, guidance
        self.pipeline = Pipeline(folder, "DiffusionPipeline", device, precision)
        self.settings = self.pipeline.settings | {"steps": steps, "guidance": guidance}
        if not {"image", "noise_level"} <= self.pipeline.accepts:
            found = f"generator.folder={folder} is a {self.settings['pipeline']}"
            raise UserError(f"{found}, which takes no image and noise level: choose generator=ddpm, ddim or pipeline")

    def __call__(self, requests: Sequence[Request]) -> list[UInt8[Tensor, "c h w"]]:
        """A pipeline takes one noise level at a time."""
        made: dict[int, Tensor] = {}
        for level in sorted({request.level for request in requests}):
            alike = [request for request in requests if request.level == level]
            made |= zip((request.number for request in alike), self._at(level, alike), strict=True)
        return [made[request.number] for request in requests]

    def _at(self, level: int, requests: Sequence[Request]) -> list[UInt8[Tensor, "c h w"]]:
        return self.pipeline(
            [request.noise() for request in requests],
            image=[to_pil_image(request.original) for request in requests],
            noise_level=level,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
        )
