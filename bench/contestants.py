"""The contestants of the race: SimCLR as lightly and solo-learn document it, and this lab's own trainer."""

import math
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image, ImageFilter
from sslab.ssl.experiment.build import Experiment
from sslab.ssl.pretrained.of_run import make_backbone
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

Views = Callable[[Image.Image], list[Tensor]]


class Contestant(Protocol):
    """A network in training."""

    backbone: nn.Module
    precision: str

    def epochs(self) -> Iterator[None]:
        """Train for one epoch per step of the iterator; nothing is left running between two."""
        ...


class Pictures(Dataset[tuple[list[Tensor], int]]):
    """Images as torchvision holds CIFAR-10: arrays, of which each access makes a PIL image and its views."""

    def __init__(self, stack: Tensor, views: Views) -> None:
        self.arrays, self.views = stack.permute(0, 2, 3, 1).contiguous().numpy(), views

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, row: int) -> tuple[list[Tensor], int]:
        return self.views(Image.fromarray(self.arrays[row])), 0


class Loop:
    """A PyTorch loop of two views, two passes, one loss and one step over a DataLoader.

    Rows, batch size, length and initial backbone are those of the lab's run.
    """

    def __init__(
        self, parts: Experiment, projector: Callable[[int], nn.Module], views: Views, workers: int, precision: str
    ) -> None:
        data, self.device, self.precision = parts.datamodule, parts.training.device, precision
        self.count: int = parts.config["trainer"]["max_epochs"]
        self.steps = self.count * (len(data.rows) // data.batch_size)
        self.backbone: Any = make_backbone(parts.config).to(self.device)
        torch.manual_seed(parts.config["seed"])
        self.network = nn.ModuleList([self.backbone, projector(self.backbone.dim)]).to(self.device)
        self.loader = DataLoader(
            Pictures(data.train_images.stack[data.rows], views),  # pyright: ignore[reportOptionalSubscript]
            batch_size=data.batch_size,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(parts.config["seed"]),
        )

    def learn(self, loss: nn.Module, optimizer: torch.optim.Optimizer, factor: Callable[[int], float]) -> "Loop":
        self.loss, self.optimizer, self.schedule = loss, optimizer, LambdaLR(optimizer, factor)
        return self

    def epochs(self) -> Iterator[None]:
        for _ in range(self.count):
            for (a, b), _ in self.loader:
                self.loss(self.embed(a), self.embed(b)).backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                self.schedule.step()
            yield

    def embed(self, image: Tensor) -> Tensor:
        backbone, projector = self.network
        with torch.autocast(self.device.type, torch.bfloat16, enabled="bf16" in self.precision):
            return projector(backbone(image.to(self.device)).pooled).float()


def lightly(parts: Experiment, workers: int, precision: str) -> Loop:
    """The PyTorch example of lightly's documentation, without changes: a constant rate, no momentum, no decay."""
    data = parts.config["data"]
    normalize = {"mean": data["mean"], "std": data["std"]}
    views = SimCLRTransform(input_size=data["size"], gaussian_blur=0.0, normalize=normalize)
    loop = Loop(parts, lambda dim: SimCLRProjectionHead(dim, dim, 128), views, workers, precision)
    return loop.learn(NTXentLoss(), torch.optim.SGD(loop.network.parameters(), lr=0.06), lambda step: 1.0)


def solo(parts: Experiment, workers: int, precision: str) -> Loop:
    """The settings of solo-learn's scripts for SimCLR on CIFAR; the warm-up is ten epochs, at most a tenth of all."""
    loop = Loop(parts, solo_projector, solo_views(parts.config["data"]), workers, precision)
    decay = 1e-4
    optimizer = create_optimizer_v2(
        param_groups_weight_decay(loop.network, decay),
        opt="lars",
        lr=0.4 * parts.datamodule.batch_size / 256,
        momentum=0.9,
        weight_decay=decay,
        trust_coeff=0.02,
        trust_clip=True,
    )
    warm = max(1, min(10 * loop.steps // loop.count, loop.steps // 10))

    def factor(step: int) -> float:
        progress = (step - warm) / max(1, loop.steps - warm)
        return step / warm if step < warm else (1 + math.cos(math.pi * progress)) / 2

    return loop.learn(NTXentLoss(temperature=0.2), optimizer, factor)


def solo_projector(dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, 2048), nn.ReLU(), nn.Linear(2048, 256))


def solo_views(data: dict[str, Any]) -> Views:
    crop = T.RandomResizedCrop(data["size"], (0.08, 1.0), interpolation=T.InterpolationMode.BICUBIC)
    jitter = T.RandomApply([T.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8)
    blur, flip = T.RandomApply([blurred], p=0.5), T.RandomHorizontalFlip(0.5)
    end = [T.ToTensor(), T.Normalize(data["mean"], data["std"])]
    view = T.Compose([crop, jitter, T.RandomGrayscale(0.2), blur, flip, *end])
    return lambda image: [view(image), view(image)]


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(float(torch.empty(()).uniform_(0.1, 2.0))))


class Lab(pl.Callback):
    """`python train.py` as it stands, monitors and checkpoints included, in a thread that waits for its turn."""

    def __init__(self, parts: Experiment) -> None:
        self.parts, self.backbone, self.precision = parts, parts.module.backbone, parts.training.mixed
        self.turn, self.rest, self.closed = Semaphore(0), Semaphore(0), False

    def epochs(self) -> Iterator[None]:
        module = self.parts.module
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
            monitors = [*self.parts.monitors, self]
            trainer = self.parts.training.trainer(Path(folder), module.total_steps, monitors, [])
            fit = thread.submit(trainer.fit, module, datamodule=self.parts.datamodule)
            fit.add_done_callback(lambda _: self.rest.release())
            try:
                while self.rest.acquire() and not fit.done():
                    yield
                    self.turn.release()
                fit.result()
                yield
            finally:
                self.closed = True
                self.turn.release()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.global_step < pl_module.total_steps and not self.closed:
            self.rest.release()
            self.turn.acquire()
            trainer.should_stop = self.closed
