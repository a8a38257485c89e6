"""A generator of the user's own images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...ssl.core.draws import mix
from ...ssl.core.errors import UserError
from ...ssl.core.step import Batch
from ..views.plain import Plain
from .pipeline import diffusers

GROUPS = 8  # of channels, for the norms


class DDPM(pl.LightningModule):
    """Denoising diffusion (Ho et al. 2020) by a U-Net v_θ of the velocity (Salimans and Ho 2022).

    E ‖√ᾱ_t ε - √(1 - ᾱ_t) x - v_θ(√ᾱ_t x + √(1 - ᾱ_t) ε, t)‖² over images x, noise ε and times t, where ᾱ falls by a
    cosine. No label is looked at. What is saved is the moving average of the weights.

    Args:
        view: the image to learn, from -1 to 1.
        channels: of the U-Net at each resolution, which halves from one to the next.
        layers: residual blocks at each.
        rate: the highest learning rate, which is reached after a tenth of the steps.
        decay: of the moving average, per step.
        seed: of times and noise.
    """

    def __init__(
        self,
        view: Plain,
        channels: Sequence[int],
        layers: int = 1,
        rate: float = 3e-3,
        decay: float = 0.998,
        seed: int = 0,
    ) -> None:
        super().__init__()
        coarsest = 2 ** (len(channels) - 1)
        if view.size % coarsest or any(number % GROUPS for number in channels):
            raise UserError(
                f"train_generator.channels={list(channels)} for {view.size} px: expected multiples of {GROUPS}, and a "
                f"size that {coarsest} divides"
            )
        self.view, self.rate, self.seed = view, rate, seed
        self.config: dict[str, Any] = {}  # that checkpoints are of
        self.unet = diffusers().UNet2DModel(
            sample_size=view.size,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=("DownBlock2D",) * len(channels),
            up_block_types=("UpBlock2D",) * len(channels),
            norm_num_groups=GROUPS,
            add_attention=False,
        )
        self.unet.to(memory_format=torch.channels_last)
        self.average = AveragedModel(self.unet, multi_avg_fn=get_ema_multi_avg_fn(decay)).requires_grad_(False)
        self.scheduler = diffusers().DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        image = self.view(batch)[0].image
        draw = torch.Generator().manual_seed(mix(self.seed, int(batch.key[0])))
        noise = torch.randn(image.shape, generator=draw).to(image)
        time = torch.randint(self.scheduler.config.num_train_timesteps, (len(image),), generator=draw).to(image.device)
        noisy = self.scheduler.add_noise(image, noise, time)
        velocity = self.scheduler.get_velocity(image, noise, time)
        return F.mse_loss(self.unet(noisy, time).sample, velocity)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.unet)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.unet.parameters(), self.rate, weight_decay=0.0)
        steps = self.trainer.estimated_stepping_batches
        schedule = OneCycleLR(optimizer, self.rate, total_steps=int(steps), pct_start=0.1, cycle_momentum=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if not all(weight.isfinite().all() for weight in self.unet.parameters()):
            raise UserError("the generator has diverged: the last checkpoint is kept; lower train_generator.rate")
        checkpoint["config"] = self.config

    def save(self, folder: Path) -> None:
        """Save a pipeline of diffusers."""
        diffusers().DDPMPipeline(self.average.module, self.scheduler).save_pretrained(folder)
