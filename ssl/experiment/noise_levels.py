"""A table of how much noise the variation of each image bears, from the share of the image that is foreground."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from ...datamodules.reading.bad_files import BadFiles
from ...datamodules.reading.images import BadImage, ImageSet
from ...datamodules.views.plain import Plain
from ..config.make import make
from ..config.signature import check
from ..core import run_folder as run
from ..core.distributed import collected, rank, world
from ..core.draws import mix, permutation
from ..core.errors import UserError
from ..core.step import Batch, Crop
from ..pretrained.foreground import STEP, Foreground, noise_level
from ..pretrained.foreground_pca import Principal
from ..pretrained.frozen_encoder import Frozen
from .device import joined_processes, own_device
from .progress import Progress

TABLE = "levels.parquet"
WIDTH = 40  # of the histogram's longest bar, in characters


def measure(config: run.Config) -> None:
    """Write the noise level of every training image, and the foreground that it comes from."""
    check(config)
    training = make(config["trainer"])
    training.check()
    principal: Principal = make(config["foreground"], precision=training.mixed)
    images, folder = make(config["data"]["source"]).train, _folder(config["out"])
    bad = BadFiles(len(images), config["data"]["max_bad"], folder)
    look = Look(principal.encoder, images, config["batch_size"], own_device(training.accelerator), bad)
    chosen = permutation(mix(config["seed"], 0), len(images))[: principal.images].sort().values
    with joined_processes():
        foreground = principal.find(lambda: (maps for _, maps in look(chosen, "foreground")))
        everyone = look(torch.arange(len(images)), "levels")
        found = collected([(rows, *inside(maps, foreground)) for rows, maps in everyone])
        if rank() > 0:
            return
    level, ratio = torch.zeros(len(images), dtype=torch.long), torch.full((len(images),), torch.nan)
    for rows, own_level, own_ratio in found:
        level[rows], ratio[rows] = own_level, own_ratio
    foreground.save(folder)
    _write(level, ratio, folder / TABLE)
    print("\n".join(histogram(level)))
    print(f"noise levels of {len(images)} images: generator.levels={folder / TABLE}")


def inside(maps: Float[Tensor, "b d h w"], foreground: Foreground) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
    """The noise level of each image, and its share of foreground."""
    count, patches = foreground.inside(maps).cpu(), maps.shape[2] * maps.shape[3]
    return noise_level(count, patches), count / patches


class Look:
    """Features by a frozen encoder of this process's readable images, a batch at a time."""

    def __init__(self, encoder: Frozen, images: ImageSet, batch_size: int, device: torch.device, bad: BadFiles) -> None:
        self.encoder, self.images, self.batch_size, self.device, self.bad = encoder, images, batch_size, device, bad
        self.view = Plain(encoder.size, encoder.mean, encoder.std)

    def __call__(
        self, rows: Int[Tensor, " n"], what: str
    ) -> Iterator[tuple[Int[Tensor, " b"], Float[Tensor, "b d h w"]]]:
        """Rows and their maps."""
        parts = rows.split(self.batch_size)[rank() :: world()]
        shown = rank() == 0 and Progress.visible()
        with ThreadPoolExecutor() as readers, tqdm(total=sum(map(len, parts)), desc=what, disable=not shown) as bar:
            for part in parts:
                read = [*readers.map(self._crop, part.tolist())]
                self.bad.add([error for error in read if isinstance(error, BadImage)])
                crops = [crop for crop in read if isinstance(crop, Crop)]
                if crops:
                    there = torch.tensor([isinstance(crop, Crop) for crop in read])
                    yield part[there], self.encoder(self._joined(crops))
                bar.update(len(part))

    def _crop(self, row: int) -> Crop | BadImage:
        try:
            return self.view.crop_one(self.images.read(row), torch.tensor(row), 0)
        except BadImage as error:
            return error

    def _joined(self, crops: list[Crop]) -> Float[Tensor, "b 3 s s"]:
        image, box = (torch.cat(part).to(self.device) for part in zip(*crops, strict=True))
        return self.view(Batch.of(image, crops=(Crop(image, box),)))[0].image


def histogram(level: Int[Tensor, " n"]) -> list[str]:
    """A line for each of the five levels."""
    number = torch.bincount(level // STEP, minlength=5)
    bars = (number * WIDTH / number.max()).ceil().long()
    lines = zip(range(0, 5 * STEP, STEP), number.tolist(), bars.tolist(), strict=True)
    return [f"{level:4} {count:9,} {'█' * bar}" for level, count, bar in lines]


def _folder(out: str) -> Path:
    folder = Path(out).expanduser()
    if (folder / "manifest.json").exists():
        raise UserError(f"out={out} holds generated images, which a table among them would disturb: set another out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write out={out} ({error.strerror}): set out=<a folder>") from None
    return folder


def _write(level: Int[Tensor, " n"], ratio: Float[Tensor, " n"], file: Path) -> None:
    """Whole or not at all; a row that cannot be read has no ratio."""
    columns = {"row": range(len(level)), "noise_level": level.tolist(), "foreground": ratio.double().tolist()}
    arrays = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    draft = file.with_suffix(".tmp")
    pq.write_table(pa.table(arrays), draft)
    os.replace(draft, file)
