"""Images from noise alone."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...ssl.core.errors import UserError
from .pipeline import Kind, Pipeline
from .request import Request


class Sampled:
    """Images of an unconditional pipeline of diffusers, such as DDPM (Ho et al. 2020) or DDIM (Song et al. 2021).

    Args:
        folder: where the pipeline is.
        steps: of denoising.
        kind: the pipeline's class, where it is to be another than the folder says: what was trained as DDPM can be
            sampled by DDIM.
        device: where it computes.
        precision: of its arithmetic.
    """

    levels = None

    def __init__(
        self,
        folder: str,
        steps: int,
        kind: Kind = "DiffusionPipeline",
        device: torch.device | None = None,
        precision: str | None = None,
    ) -> None:
        self.steps = steps
        self.pipeline = Pipeline(folder, kind, device, precision)
        self.settings = self.pipeline.settings | {"steps": steps}
        if "batch_size" not in self.pipeline.accepts:
            found = f"generator.folder={folder} is a {self.settings['pipeline']}"
            raise UserError(f"{found}, which needs more than noise: choose generator=variation")

    def __call__(self, requests: Sequence[Request]) -> list[UInt8[Tensor, "c h w"]]:
        noise = [request.noise() for request in requests]
        return self.pipeline(noise, batch_size=len(requests), num_inference_steps=self.steps)
