"""The classes that a loss with gates on class pairs has come to relate, as a table and as a picture."""

import csv
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIDE = 640  # of the map in pixels, about; with more classes than that each has one
READABLE = 14  # height of a cell that has room for a name
FONT = ImageFont.load_default(READABLE)
BAR, GAP = 20, 12  # width of the scale, and around it
COLOURS = torch.tensor([[247, 251, 255], [158, 202, 225], [49, 130, 189], [8, 48, 107]]).float()  # least to most


class ClassRelations(pl.Callback):
    """Writes `class_relations.csv` and `.png` into the run folder after training.

    The number for two classes is the mean over dimensions of their gate: the share of the space in which the loss
    compares them. Classes that are alike in more have a higher one; a class and itself need not have the highest.

    The gates are those of the first part of the loss that has `class_relations()`, a matrix; a loss without, such as
    one whose gates are open, writes nothing.
    """

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        gates = [part for part in pl_module.loss.modules() if hasattr(part, "class_relations")]
        if not gates or not trainer.is_global_zero:
            return
        relations = gates[0].class_relations().cpu()
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        names = [*data.train_images.classes][: len(relations)] or [str(number) for number in range(len(relations))]
        folder = Path(trainer.default_root_dir)
        table(relations, names, folder / "class_relations.csv")
        heat_map(relations, names).save(folder / "class_relations.png")


def table(relations: Float[Tensor, "c c"], names: list[str], file: Path) -> None:
    with file.open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["class", *names])
        writer.writerows(
            [name, *(f"{x:.6g}" for x in row)] for name, row in zip(names, relations.tolist(), strict=True)
        )


def heat_map(relations: Float[Tensor, "c c"], names: list[str]) -> Image.Image:
    """The matrix between the names of the classes, and the scale from its least number to its largest."""
    cell = max(1, SIDE // len(names))
    side, shown = cell * len(names), names if cell >= READABLE else []
    low, high = relations.min().item(), relations.max().item()
    margin = GAP + max((int(FONT.getlength(name)) for name in shown), default=0)
    right = margin + side + GAP
    page = Image.new("RGB", (right + BAR + 2 * GAP + int(FONT.getlength("0.00")), margin + side + GAP), "white")
    page.paste(labels(shown, cell, margin, "rm"), (0, margin))
    page.paste(labels(shown, cell, margin, "lm").rotate(90, expand=True), (margin, 0))
    page.paste(coloured((relations - low) / max(high - low, 1e-12), (side, side)), (margin, margin))
    page.paste(coloured(torch.linspace(1, 0, side)[:, None], (BAR, side)), (right, margin))
    draw = ImageDraw.Draw(page)
    for number, height, anchor in ((high, margin, "la"), (low, margin + side, "ld")):
        draw.text((right + BAR + GAP, height), f"{number:.2f}", "black", FONT, anchor)
    return page


def labels(names: list[str], cell: int, width: int, anchor: str) -> Image.Image:
    """A column of names, one a cell, to the left (`lm`) or to the right (`rm`)."""
    column = Image.new("RGB", (width, cell * max(1, len(names))), "white")
    for i, name in enumerate(names):
        at = (GAP // 2 if anchor == "lm" else width - GAP // 2, i * cell + cell // 2)
        ImageDraw.Draw(column).text(at, name, "black", FONT, anchor)
    return column


def coloured(share: Float[Tensor, "h w"], size: tuple[int, int]) -> Image.Image:
    """Numbers in [0, 1] as colours, enlarged to a width and a height."""
    place = share.clamp(0, 1)[..., None] * (len(COLOURS) - 1)
    below = place.floor().clamp_max(len(COLOURS) - 2)
    first = below[..., 0].long()
    colour = torch.lerp(COLOURS[first], COLOURS[first + 1], place - below)
    return Image.fromarray(colour.round().byte().numpy()).resize(size, Image.Resampling.NEAREST)
