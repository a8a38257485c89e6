"""The cost of several heads: a training step with one head, with many as a batched product, and with as many modules.

    python -m bench.heads [--backbone resnet18] [--images 256] [--heads 8] [--loss amcl] [--steps 7]

Two views go through the network, the loss and the optimiser; the three take turns, step by step, on the same images.
The ratio of medians is what counts.
"""

import argparse
import statistics
from typing import Any

import torch
from sslab.heads.multi import MultiHead
from sslab.ssl.core.step import Batch, Features, Step, View
from sslab.ssl.model.module import Module
from torch import Tensor, nn

from .lab import experiment, now

WARM = 1


class Loop(nn.Module):
    """The same heads, one module after the other."""

    def __init__(self, head: MultiHead, in_dim: int, hidden: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(
            nn.Sequential(nn.Linear(in_dim, hidden), nn.ReLU(), nn.Linear(hidden, head.dim)) for _ in range(head.heads)
        )

    def forward(self, features: Features) -> Tensor:
        return torch.stack([head(features.pooled) for head in self.each], dim=1)


class Trained:
    """One of those that are compared."""

    def __init__(self, module: Module, device: torch.device) -> None:
        self.encoder, self.loss = module.encoder.to(device), module.loss.to(device)
        self.optimizer = module.optim.build({"encoder": self.encoder, "loss": self.loss}, module.total_batch)
        self.device = device

    def seconds(self, views: dict[int, View], batch: Batch) -> float:
        began = now(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            z = {v: encoded.z for v, encoded in self.encoder(views).items()}
            loss = self.loss(Step.of(z, z, batch)).total
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return now(self.device) - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--loss", default="amcl")
    parser.add_argument("--steps", type=int, default=7, help="that are timed, after one that is not")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compared = {name: Trained(module, device) for name, module in modules(options).items()}
    views, batch = inputs(options.images, device)
    times: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(WARM + options.steps):
        for name, trained in compared.items():
            times[name].append(trained.seconds(views, batch))
    medians = {name: statistics.median(seconds[WARM:]) for name, seconds in times.items()}
    print(f"{options.backbone}, two views of {options.images} images, loss={options.loss}, {device}")
    print(f"{'':18} {'ms':>9} {'ratio':>7}")
    for name, seconds in medians.items():
        print(f"{name:18} {1e3 * seconds:9.1f} {seconds / medians['1 head']:7.3f}")


def modules(options: argparse.Namespace) -> dict[str, Module]:
    one, many, loop = (module(options, heads) for heads in (1, options.heads, options.heads))
    head: Any = loop.encoder.head
    first = head.net.net[0].weight  # (H, in, hidden)
    loop.encoder.head = Loop(head, first.shape[1], first.shape[2])
    return {"1 head": one, f"{options.heads} batched": many, f"{options.heads} modules": loop}


def module(options: argparse.Namespace, heads: int) -> Module:
    choices = [f"backbone={options.backbone}", f"loss={options.loss}", "head=multi", f"head.heads={heads}"]
    sizes = [f"data.batch_size={options.images}", f"data.source.train={options.images + 64}", "data.source.test=100"]
    return experiment(*choices, *sizes, "data.holdout=0").module


def inputs(images: int, device: torch.device) -> tuple[dict[int, View], Batch]:
    draw = torch.Generator().manual_seed(0)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(images, -1)
    unflipped = torch.zeros(images, dtype=torch.bool)
    views = {v: View(torch.randn(images, 3, 32, 32, generator=draw).to(device), whole, unflipped) for v in (0, 1)}
    return views, Batch.of(torch.zeros(images, 3, 0, 0, dtype=torch.uint8, device=device))


if __name__ == "__main__":
    main()
