"""Fit, evaluate, preview: what is done with an experiment."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn

from ...eval.features.extract import Pixels
from ..core.distributed import rank
from ..core.run_folder import commit
from ..core.step import Batch, View
from ..model.layers import Layered
from ..model.weights import save_weights
from ..pretrained.of_run import make_backbone
from .build import Experiment

log = logging.getLogger(__name__)


def fit(experiment: Experiment, folder: Path, checkpoint: Path | None) -> torch.device | None:
    """Train from the beginning or from a checkpoint; the device to evaluate on, on the rank that evaluates."""
    module, datamodule, training = experiment.module, experiment.datamodule, experiment.training
    loggers = [instantiate(node, save_dir=str(folder)) for node in (experiment.config["logger"] or {}).values()]
    trainer = training.trainer(folder, module.total_steps, experiment.monitors, loggers)
    log.info("%d × %s, %s", trainer.world_size, trainer.strategy.root_device.type, trainer.precision)
    log.info(
        "%d steps of %d images, %s with a peak rate of %.3g",
        *(module.total_steps, module.total_batch, module.optim.name, module.optim.peak(module.total_batch)),
    )
    if checkpoint is not None:
        step = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]
        trainer.loggers[0].resume(step)  # pyright: ignore[reportAttributeAccessIssue]
        log.info("continuing at step %d of %d", step, module.total_steps)
    datamodule.run_folder = folder if folder.is_dir() else None  # torchrun's other ranks have none
    try:
        trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        log.warning("stopped; to go on: python train.py resume=%s", folder)
        raise
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    device = trainer.strategy.root_device
    return device if rank() == 0 else None


def evaluate(experiment: Experiment, folder: Path, device: torch.device) -> list[dict[str, Any]]:
    """Export the backbone, and set it beside itself before training and beside raw pixels."""
    trained: Any = experiment.module.backbone
    seen = {key: value for key, value in experiment.config["plain_view"].items() if key != "_target_"}
    about = {"backbone": json.dumps(experiment.config["backbone"]), "view": json.dumps(seen)}
    save_weights(trained.trunk, folder / "backbone.safetensors", about)
    return measure(experiment, {"trained": Layered(trained, experiment.module.encoder.head)}, folder, device)


def measure(
    experiment: Experiment, backbones: Mapping[str, nn.Module], folder: Path, device: torch.device, **about: Any
) -> list[dict[str, Any]]:
    """Results of these backbones, of the experiment's own before training and of pixels, and what they are `about`."""
    if experiment.evaluation is None:
        return []
    config, data = experiment.config, experiment.datamodule
    data.setup("test")
    everyone = {**backbones, "untrained": Layered(make_backbone(config)), "pixels": Pixels()}
    placed = {name: backbone.to(device) for name, backbone in everyone.items()}
    test = data.test_images
    meta = {"data": config["data"]["name"], "test": test and test.fingerprint()[:16], "commit": commit(), **about}
    return experiment.evaluation(placed, data.real_images, test, experiment.module.plain_view, device, folder, meta)


def preview(experiment: Experiment, folder: Path) -> None:
    """A contact sheet of the views of the first batch."""
    from ...datamodules.loading.pictures import pictured
    from ...datamodules.views.contact_sheet import ROWS, sheet
    from ...datamodules.views.paired import Paired

    data = experiment.datamodule
    views: Any = experiment.module.views
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    file = folder / "views.png"
    pictures = pictured(batch, data.train_images, data.partners, ROWS)
    shown = views.shown(batch) if isinstance(views, Paired) else None
    made = views(batch)
    sheet(pictures, made, views.mean, views.std, file, shown, _captions(experiment, batch, made, ROWS))
    print(f"wrote {file}")


def _captions(experiment: Experiment, batch: Batch, views: tuple[View, ...], rows: int) -> list[str]:
    """Return captions of the partners of the first rows, with the weights of these in a batch of their own."""
    from ..latent.quality import Quality

    partners, module = experiment.datamodule.partners, experiment.module
    captions = partners.captions(batch.row[:rows].cpu()) if partners else [""] * rows
    for part in module.latent:
        if isinstance(part, Quality):
            weight = part.weights_of(views, [*module.target_views, *module.online_views], rows)
            captions = [f"{text} w={w:.2f}".strip() for text, w in zip(captions, weight.tolist(), strict=False)]
    return captions
