"""The training of a linear head on random views, perhaps with the backbone below it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from ..features.extract import Images, PlainView, count_unread, viewed
from ..features.random_views import keyed
from ..probes.classifier import Classifier, Trunk, linear_head
from .base import Subject

Number = float | int
Part = tuple[Int[Tensor, " b"], Float[Tensor, "b 3 h w"], float]
INIT, ORDER, VIEWS = range(3)  # keep these uses of a seed apart from each other


@runtime_checkable
class Optim(Protocol):
    """The rule by which weights are updated, as training has it too."""

    lr: Number
    weight_decay: Number
    constant: Sequence[str]
    final_decay: Number | None

    def peak(self, batch: int) -> Number: ...

    def factor(self, step: int, total: int) -> Number: ...

    def over(self, groups: list[dict[str, Any]], batch: int) -> torch.optim.Optimizer: ...

    def _replace(self, **changed: Any) -> Any: ...


@dataclass(frozen=True)
class Recipe:
    """Cross-entropy on one random view of every image in every epoch; the settings of the papers are choices of these.

    Args:
        views: they get the size and the normalisation of the plain view.
        optim: its peak rate is that of the batches that the training set allows.
        trunk: whether the backbone is frozen, trained but for the statistics of its BatchNorm layers, or trained.
        epochs: how often each image is seen.
        batch_size: images per step; those beyond what one pass takes are accumulated.
        reads: names of the layers that the head sees side by side.
        batch_norm: whether the head begins with a BatchNorm layer, without weights.
        init_std: deviation of the head's first weights.
        head_scale: rate of the head over that of the backbone.
        layer_decay: rate of each layer of the backbone over that of the next.
    """

    views: PlainView
    optim: Optim
    trunk: Trunk = "trained"
    epochs: int = 30
    batch_size: int = 256
    reads: Sequence[str] = ("h",)
    batch_norm: bool = False
    init_std: Number = 0.01
    head_scale: Number = 1.0
    layer_decay: Number = 1.0

    def __post_init__(self) -> None:
        expected = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "reads": (len(self.reads) > 0, "names of layers"),
            "init_std": (self.init_std >= 0, "0 or more"),
            "head_scale": (self.head_scale > 0, "a number above 0"),
            "layer_decay": (0 < self.layer_decay <= 1, "more than 0, at most 1"),
        }
        for name, (right, what) in expected.items():
            if not right:
                raise UserError(f"recipe.{name} is {getattr(self, name)}: expected {what}")
        if self.trunk == "frozen" and (self.layer_decay, self.head_scale) != (1, 1):
            raise UserError(
                "recipe.layer_decay and recipe.head_scale are for a trunk that is trained, but it is frozen"
            )
        if self.optim.constant or self.optim.final_decay is not None:
            raise UserError("recipe.optim.constant and recipe.optim.final_decay are for pretraining: leave them out")

    def start(self, subject: Subject, seed: int) -> Classifier:
        """The classifier as it is before training."""
        model = Classifier(subject.backbone, self.trunk, self.reads)
        plain: Any = subject.view
        with torch.no_grad():
            blank = torch.zeros(1, 3, plain.size, plain.size, device=subject.device)
            dim = model.eval().features(blank).shape[1]
        classes = int(subject.train.label.max()) + 1
        model.head = linear_head(dim, classes, self.batch_norm, self.init_std, mix(seed, INIT)).to(subject.device)
        return model

    def train(self, subject: Subject, rows: Int[Tensor, " m"], seed: int, rate: Number) -> Iterator[Classifier]:
        """The classifier after each epoch over these rows, with `rate` for `optim.lr`; it is one, and learns on."""
        model, optim = self.start(subject, seed), self.optim._replace(lr=rate)
        size, steps = min(self.batch_size, len(rows)), ceil(len(rows) / self.batch_size)
        groups = model.groups(optim.peak(size), optim.weight_decay, self.head_scale, self.layer_decay)
        optimizer = optim.over(groups, size)
        peaks = [group["lr"] for group in optimizer.param_groups]
        scaler = torch.amp.GradScaler(subject.device.type, enabled=subject.precision.startswith("16"))
        for epoch in range(self.epochs):
            model.train()
            view = keyed(self.views, subject.view, mix(seed, VIEWS, epoch))
            order = rows[permutation(mix(seed, ORDER, epoch), len(rows))]
            for step, parts in _steps(subject, view, order.tensor_split(steps)):
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * optim.factor(epoch * steps + step, self.epochs * steps)
                optimizer.zero_grad()
                for label, image, share in parts:
                    scaler.scale(share * cross_entropy(_logits(model, image, subject), label)).backward()
                scaler.step(optimizer)
                scaler.update()
            yield model


def predict(
    model: Classifier, subject: Subject, images: Images, rows: Int[Tensor, " m"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, "n c"]]:
    """Those of these rows that can be read, and their logits by the plain view."""
    model.eval()
    found, logits = [], []
    with torch.no_grad():
        for row, image in viewed(images, rows.split(subject.batch_size), subject.view, subject.device):
            found.append(row)
            logits.append(_logits(model, image, subject).cpu())
    count_unread(sum(map(len, found)), len(rows))
    return torch.cat(found), torch.cat(logits)


def _steps(
    subject: Subject, view: PlainView, batches: Sequence[Int[Tensor, " b"]]
) -> Iterator[tuple[int, Iterator[Part]]]:
    """The batches, each in parts of at most what one pass takes: their labels, views and share of the batch."""
    number = torch.empty(len(subject.train), dtype=torch.long)
    for i, batch in enumerate(batches):
        number[batch] = i
    chunks = [part for batch in batches for part in batch.tensor_split(ceil(len(batch) / subject.batch_size))]
    found = viewed(subject.train, chunks, view, subject.device)
    for i, parts in groupby(found, lambda part: int(number[part[0][0]])):
        yield i, (_part(subject, row, image, len(batches[i])) for row, image in parts)


def _part(subject: Subject, row: Int[Tensor, " b"], image: Float[Tensor, "b 3 h w"], size: int) -> Part:
    return subject.train.label[row].to(subject.device), image, len(row) / size


def _logits(model: Classifier, image: Float[Tensor, "b 3 h w"], subject: Subject) -> Float[Tensor, "b c"]:
    half = torch.bfloat16 if subject.precision.startswith("bf16") else torch.float16
    with torch.autocast(subject.device.type, half, enabled="16" in subject.precision):
        return model(image)
