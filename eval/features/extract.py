"""The features of images: one pass of a frozen backbone, without augmentation."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float16, Int, UInt8
from torch import Tensor, nn

from ...ssl.core.errors import UserError
from ...ssl.core.step import Batch, Features, View
from .store import FeatureStore

PlainView = Callable[[Batch], tuple[View, ...]]
SHOWN = 8
LARGEST = torch.finfo(torch.float16).max
log = logging.getLogger(__name__)


@runtime_checkable
class Images(Protocol):
    """An image set, as an evaluation needs it."""

    label: Int[Tensor, " n"]
    factors: Int[Tensor, "n f"]
    factor_names: tuple[str, ...]

    @property
    def stack(self) -> UInt8[Tensor, "n 3 H W"] | None: ...

    def __len__(self) -> int: ...

    def read(self, row: int) -> UInt8[Tensor, "3 H W"]: ...

    def fingerprint(self) -> str: ...


class Pixels(nn.Module):
    """The images themselves as features, averaged down to at most `side` pixels: what a backbone should beat."""

    def __init__(self, side: int = 32) -> None:
        super().__init__()
        self.side = side

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Features:
        height, width = (min(self.side, s) for s in image.shape[2:])
        small = nn.functional.adaptive_avg_pool2d(image, (height, width))
        return Features(small.flatten(1), small, small.flatten(2).transpose(1, 2))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; afterwards every submodule is in the mode it was in."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.no_grad():  # inference mode would poison what a module caches for its next training step
            yield
    finally:
        for m, mode in modes:
            m.training = mode


def extract(
    backbone: nn.Module,
    images: Images,
    view: PlainView,
    device: torch.device,
    batch_size: int = 512,
    precision: str = "32-true",
    rows: Int[Tensor, " n"] | None = None,
    layers: Sequence[str] = ("h",),
) -> FeatureStore:
    """The features of these rows (default: all), in their order and in memory.

    Images that cannot be read (an `OSError`) are left out and counted in the log.

    Args:
        backbone: what turns an image into `Features`, already on `device`.
        images: where the rows are.
        view: the un-augmented view.
        device: where the features are computed.
        batch_size: images per pass.
        precision: as Lightning names it; `bf16…` and `16…` compute in that type.
        rows: which images.
        layers: `h` is the pooled last one; a backbone names others in its `layers`.
    """
    rows = torch.arange(len(images)) if rows is None else rows.cpu()
    chunks = rows.split(batch_size)
    found, features = [], {layer: [] for layer in layers}
    for row, seen in see(backbone, images, view, device, precision, chunks, layers):
        found.append(row)
        for layer, part in seen.items():
            features[layer].append(part)
    row = torch.cat(found) if found else rows[:0]
    count_unread(len(row), len(rows))
    first, *others = [torch.cat(parts) for parts in features.values()]
    meta = {"layer": layers[0], "precision": precision}
    return (
        known(images).take(row)._replace(features=first, meta=meta, others=dict(zip(layers[1:], others, strict=True)))
    )


def see(
    backbone: nn.Module,
    images: Images,
    view: PlainView,
    device: torch.device,
    precision: str,
    chunks: Sequence[Int[Tensor, " _"]],
    layers: Sequence[str],
) -> Iterator[tuple[Int[Tensor, " r"], dict[str, Float16[Tensor, "r _"]]]]:
    """One pass over the images: for each chunk of rows those that could be read, and their features by layer."""
    half = torch.bfloat16 if precision.startswith("bf16") else torch.float16
    cast = torch.autocast(device.type, half, enabled="16" in precision)
    for row, image in viewed(images, chunks, view, device):
        with evaluating(backbone), cast:
            if tuple(layers) == ("h",):
                seen = {"h": backbone(image).pooled}
            else:
                seen: dict[str, Tensor] = backbone.named(image, layers)  # pyright: ignore[reportCallIssue]
        yield row, {layer: _finite(features.cpu(), row).half() for layer, features in seen.items()}


def count_unread(read: int, asked: int) -> None:
    if not read:
        raise UserError(f"none of the {asked} images can be read: are they images?")
    if read < asked:
        log.warning("%d of %d images cannot be read: they are left out", asked - read, asked)


def known(images: Images) -> FeatureStore:
    """Return what is known before anything is extracted: all but the features, which have no dimension yet."""
    row = torch.arange(len(images))
    return FeatureStore(torch.empty(len(row), 0), images.label, images.factors, row, {}, images.factor_names)


def viewed(
    images: Images, chunks: Sequence[Int[Tensor, " _"]], view: PlainView, device: torch.device
) -> Iterator[tuple[Int[Tensor, " b"], Float[Tensor, "b 3 h w"]]]:
    """Rows that could be read, and their views; threads read the next batch meanwhile."""
    if not chunks:
        return
    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor() as readers:
        read = partial(_read, images, readers)
        coming = ahead.submit(read, chunks[0])
        for following in [*chunks[1:], None]:
            row, raw = coming.result()
            if following is not None:
                coming = ahead.submit(read, following)
            if len(row):
                yield row, _view(row, raw, view, device)


def _read(
    images: Images, readers: ThreadPoolExecutor, rows: Int[Tensor, " b"]
) -> tuple[Int[Tensor, " r"], UInt8[Tensor, "r 3 H W"] | list[Tensor]]:
    """The images of those rows that can be read: one tensor where they are in memory, else one each."""
    if images.stack is not None:
        return rows, images.stack[rows.to(images.stack.device)]

    def attempt(row: int) -> Tensor | None:
        try:
            return images.read(row)
        except OSError:
            return None

    raw = list(readers.map(attempt, rows.tolist()))
    readable = torch.tensor([image is not None for image in raw])
    return rows[readable], [image for image in raw if image is not None]


def _view(
    row: Int[Tensor, " b"], raw: Tensor | list[Tensor], view: PlainView, device: torch.device
) -> Float[Tensor, "b 3 h w"]:
    """The plain view of a batch; images of several sizes are viewed one by one."""
    if isinstance(raw, list) and len({image.shape for image in raw}) == 1:
        raw = torch.stack(raw)
    if isinstance(raw, list):
        return torch.cat([_view(row[i : i + 1], image[None], view, device) for i, image in enumerate(raw)])
    return view(Batch.of(raw.to(device), row=row.to(device)))[0].image


def _finite(features: Float[Tensor, "n d"], row: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
    bad = row[~(features.abs() <= LARGEST).all(1)]
    if len(bad):
        raise UserError(
            f"features of rows {', '.join(map(str, bad[:SHOWN].tolist()))}{', …' if len(bad) > SHOWN else ''} are not "
            f"finite, or above {LARGEST:.0f}: the backbone has diverged, or precision is too low; try 32-true"
        )
    return features
