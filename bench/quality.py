"""The cost of quality weights: a training step with them over one without, by an encoder of the backbone's own kind.

    python -m bench.quality [--backbone resnet18] [--batch 256] [--look 32] [--precision auto] [--rounds 9]

`--look` is the side, in pixels, of the images that the encoder is shown, `--precision` that of training.

Both are steps of one network, in turns, so that both meet the same weather; the ratio of medians is what counts.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from sslab.ssl.core.step import Batch
from sslab.ssl.experiment.build import Experiment
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.weights import save_weights
from sslab.ssl.pretrained.foreground import Foreground
from sslab.ssl.pretrained.frozen_encoder import Frozen
from torch import nn

from .lab import experiment, now

SIZE, WARM = 32, 2
MEAN, STD = [0.437] * 3, [0.283] * 3  # of the views, too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--look", type=int, default=SIZE)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), options.backbone, options.look)
        parts = prepare(folder, options)
        plain, weighed = measure(parts, options.batch, options.rounds)
    training = parts.training
    print(f"{options.backbone}, {options.batch} images of {SIZE} px, {training.device}, {training.mixed}")
    print(f"the encoder: images of {options.look} px, {training.frozen}")
    print(f"without {1e3 * plain:8.1f} ms\nwith    {1e3 * weighed:8.1f} ms\nratio   {weighed / plain:8.3f}")


def save(folder: Path, backbone: str, look: int) -> None:
    """An encoder with random weights, and any direction."""
    save_weights(Backbone(backbone, look).trunk, folder / "encoder.safetensors", {})
    encoder = Frozen(str(folder / "encoder.safetensors"), backbone, look, MEAN, STD)
    Foreground(nn.functional.normalize(torch.randn(encoder.dim), dim=0), 0.0, encoder).save(folder)


def prepare(folder: str, options: argparse.Namespace) -> Experiment:
    chosen = [f"backbone={options.backbone}", f"trainer.precision={options.precision}", "views=simclr"]
    weighed = ["latent=[quality]", f"latent.quality.foreground={folder}"]
    sizes = [f"data.source.train={2 * options.batch}", f"data.batch_size={options.batch}", "data.holdout=0"]
    return experiment(*chosen, *weighed, *sizes)


def measure(parts: Experiment, size: int, rounds: int) -> tuple[float, float]:
    """The median seconds of a step without and with weights."""
    device, module = parts.training.device, parts.module.to(parts.training.device)
    module.log_every = 2**31  # there is nowhere to log to
    optimizer = module.optim.build({"encoder": module.encoder}, size)
    latent, none = module.latent, nn.ModuleList()
    draw = torch.Generator().manual_seed(0)
    batch = Batch.of(torch.randint(256, (size, 3, SIZE, SIZE), generator=draw, dtype=torch.uint8).to(device))
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(WARM + rounds):
        for weighed in seconds:
            module.latent = latent if weighed else none
            seconds[weighed].append(step(parts, batch, optimizer, device))
    plain, with_weights = (statistics.median(times[WARM:]) for times in seconds.values())
    return plain, with_weights


def step(parts: Experiment, batch: Batch, optimizer: torch.optim.Optimizer, device: torch.device) -> float:
    began = now(device)
    with torch.autocast(device.type, torch.bfloat16, enabled="bf16" in parts.training.mixed):
        loss = parts.module.training_step(batch, 0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return now(device) - began


if __name__ == "__main__":
    main()
