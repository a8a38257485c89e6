"""A contact sheet: what the network is shown, on one page."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from ...ssl.core.step import Batch, View

ROWS = 16
HEIGHT = 96  # of a picture at least: smaller ones are enlarged
GAP = 4
COLOURS = ((230, 60, 50), (40, 120, 230), (40, 170, 80), (240, 160, 20), (150, 80, 200), (20, 180, 190))


def sheet(
    batch: Batch,
    views: tuple[View, ...],
    mean: Sequence[float | int],
    std: Sequence[float | int],
    path: Path,
    shown: Int[Tensor, " b"] | None = None,
    captions: Sequence[str] = (),
) -> None:
    """Write a PNG with a row for each of the first images: the original with the crops drawn on it, then its views.

    The frame of a view has the colour of its crop. Where workers took the crops the original is not at hand: its
    place is grey. Partners stand beside the originals.

    Args:
        batch: of which the views are.
        views: in the order of the page.
        mean: of the pixels, by which the views are normalised.
        std: likewise.
        path: of the PNG.
        shown: for each image the view that shows its partner; -1: none.
        captions: what to write on the partners, for each image.
    """
    height = max(HEIGHT, *(view.image.shape[2] for view in views))
    originals = batch.images[:ROWS].cpu()
    if not originals.numel():
        originals = torch.full((min(ROWS, len(batch.key)), 3, height, height), 128, dtype=torch.uint8)
    shown = torch.full((len(originals),), -1) if shown is None else shown[:ROWS].cpu()
    of_partner = shown[:, None] == torch.arange(len(views))  # (B, V)
    columns = [_with_boxes(_enlarged(originals, height), views, ~of_partner)]
    if batch.partner.numel():
        columns.append(_with_boxes(_enlarged(batch.partner[:ROWS].cpu(), height), views, of_partner))
    for view, colour in zip(views, _colours(len(views)), strict=True):
        columns.append(_framed(_enlarged(_pixels(view, mean, std), height), colour))
    rows = torch.cat([F.pad(column, (GAP, GAP, GAP, GAP), value=255) for column in columns], dim=3)
    page = Image.fromarray(torch.cat(list(rows), dim=1).permute(1, 2, 0).numpy())
    for row, caption in enumerate(captions[:ROWS]):
        corner = columns[0].shape[3] + 3 * GAP + 4, row * rows.shape[2] + GAP + 3  # of the partner
        ImageDraw.Draw(page).text(corner, caption, fill="white", stroke_width=1, stroke_fill="black")
    page.save(path)


def _pixels(view: View, mean: Sequence[float | int], std: Sequence[float | int]) -> UInt8[Tensor, "b 3 h w"]:
    image = view.image[:ROWS].float().cpu()
    centre, spread = image.new_tensor([mean, std])[:, :, None, None]
    return (image * spread + centre).mul(255).round().clamp(0, 255).byte()


def _enlarged(images: UInt8[Tensor, "b 3 h w"], height: int) -> UInt8[Tensor, "b 3 {height} w2"]:
    width = round(images.shape[3] * height / images.shape[2])
    return F.interpolate(images, (height, width), mode="nearest-exact")


def _with_boxes(
    images: UInt8[Tensor, "b 3 h w"], views: tuple[View, ...], theirs: Bool[Tensor, "b v"]
) -> UInt8[Tensor, "b 3 h w"]:
    """The images with the crops of those views drawn on them that are `theirs`."""
    height, width = images.shape[2:]
    boxes = torch.stack([view.box[: len(images)].float().cpu() for view in views], 1)  # (B, V, 4)
    pixels = boxes * torch.tensor([width - 1, height - 1, width - 1, height - 1])
    drawn = []
    for image, box, own in zip(images, pixels, theirs, strict=True):
        colours = [colour for colour, is_own in zip(_colours(len(views)), own.tolist(), strict=True) if is_own]
        drawn.append(draw_bounding_boxes(image, box[own], colors=[*colours], width=2) if colours else image)
    return torch.stack(drawn)


def _framed(images: UInt8[Tensor, "b 3 h w"], colour: tuple[int, int, int]) -> UInt8[Tensor, "b 3 h w"]:
    framed = images.new_tensor(colour)[:, None, None].expand_as(images).clone()
    framed[:, :, 2:-2, 2:-2] = images[:, :, 2:-2, 2:-2]
    return framed


def _colours(count: int) -> list[tuple[int, int, int]]:
    return [COLOURS[view % len(COLOURS)] for view in range(count)]
