"""The data module: from a data set to the batches of a training run."""

import logging
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from jaxtyping import Int
from lightning_fabric.utilities.data import suggested_max_num_workers
from torch import Tensor

from ..ssl.core.distributed import rank, world
from ..ssl.core.draws import mix, permutation
from ..ssl.core.errors import UserError
from .loading.order import SHUFFLED, Order, Rows
from .loading.resident import Resident, UnevenSizes, bytes_needed, load, stand_ins
from .loading.sampler import Batches, whole_batches
from .loading.stream import Cropper, Crops, PairCropper, Stream
from .reading.bad_files import BadFiles
from .reading.images import ImageSet, Source, Stack
from .sources.generated import generated_images
from .sources.inflated import Inflated, copied
from .sources.partners import PairSource, Partners, generated_partners

HOLD_OUT = 1  # keeps this permutation apart from the epochs'
log = logging.getLogger(__name__)


class DataModule(pl.LightningDataModule):
    """Batches in an order that only the seed decides, from memory where the images fit and from workers where not.

    Both ways give the same rows and keys. An image that cannot be read gives way to the next row and is named in
    `bad_files.txt`. A checkpoint keeps the number of batches that were trained on, and a resumed run goes on there.

    Args:
        source: the data set.
        batch_size: images per batch over all ranks.
        seed: of the run.
        accumulate: batches per optimiser step; an epoch is a multiple.
        order: which rows make up a batch.
        generated: where further images are that a generator has made, to train on alone: a folder of them, parquet
            files, or an npz file.
        copies: of each real image in an epoch, which has every generated one once (AdaInf: Wang et al. 2024).
        partners: folder of the variations of the training images that a generator has made, for `views=paired`.
        views: what crops the images in workers.
        resident: whether to hold all images in memory, on the training device; `auto`: if they fit.
        resident_gib: what `auto` takes for fitting.
        workers: processes that decode images which are not held; `auto`: one per core but one.
        holdout: number or share of the labelled rows that are never trained on, for monitors.
        max_bad: share of images that may be unreadable.
        run_folder: where `bad_files.txt` goes.
        described: what else the config says of the data (`size`, `mean`, …), for the source and the views.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int = 0,
        accumulate: int = 1,
        order: Order = SHUFFLED,
        generated: str | None = None,
        copies: int = 1,
        partners: str | None = None,
        views: Cropper | None = None,
        resident: bool | Literal["auto"] = "auto",
        resident_gib: float | int = 4,
        workers: int | Literal["auto"] = "auto",
        holdout: int | float = 0,
        max_bad: float | int = 0.01,
        run_folder: Path | None = None,
        **described: Any,
    ) -> None:
        super().__init__()
        self.batch_size, self.seed, self.accumulate, self.views = batch_size, seed, accumulate, views
        self.order = order
        self.resident: bool | Literal["auto"] = resident
        self.resident_gib = resident_gib
        self.workers: int | Literal["auto"] = workers
        self.max_bad, self.run_folder = max_bad, run_folder
        self.train_images: ImageSet = source.train
        self.partners = _partners(source, partners, described.get("size"), described.get("held"))
        if isinstance(views, PairCropper) and self.partners is None:
            raise UserError(
                "views=paired, but no image has a partner: set data.partners=<folder that the generator has written>, "
                "or data=pairs"
            )
        more = generated_images(generated, described.get("size"), described.get("held"))
        if more is not None:
            self.train_images = Inflated(source.train, more)
            self.partners = self.partners.beside(len(more)) if self.partners else None
        self.test_images: ImageSet | None = source.test
        self.held_out = _held_out(self.train_images.label, holdout, seed)  # rows
        rows = torch.isin(torch.arange(len(self.train_images)), self.held_out, invert=True).nonzero()[:, 0]
        self.rows = copied(rows, self.train_images.source, copies)
        # As they are now: the order is the same whether unreadable images are known of or not.
        self.trainable = Rows(self.rows, self.train_images.label[self.rows])
        self.batches_per_epoch = whole_batches(self.trainable, batch_size, accumulate, order)
        self.served = 0

    def setup(self, stage: str | None = None) -> None:
        """Read the images that are to be held; those to test on too unless `stage` is `fit`."""
        self.train_images, bad = self._hold(*self._train_sets)
        self.rows = stand_ins(self.rows, bad)
        self.held_out = self.held_out[torch.isin(self.held_out, bad, invert=True)]
        if self.partners is not None and stage != "test":
            self.partners = self.partners.held(*self._hold(*self._train_sets[::-1]))
            real = self.train_images.source == 0
            counts = self.partners.missing(among=real), int(real.sum())
            log.info("%d of %d training images have no partner: both their views are real", *counts)
        if self.test_images is not None and stage != "fit":
            self.test_images, _ = self._hold(self.test_images)

    def train_dataloader(self) -> Resident | Stream:
        sampler = Batches(
            self.trainable, self.batch_size, self.seed, self.accumulate, self.served, rank(), world(), self.order
        )
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if all(images.stack is not None for images in self._train_sets) and self._fits(*self._train_sets):
            return Resident(sampler, self.train_images, self.rows, device, self.partners)
        crops = Crops(self.train_images, self.rows, self.views, self.partners)
        bad = self._bad_files(*self._train_sets)
        return Stream(sampler, crops, bad, self._workers(), pin_memory=device.type == "cuda")

    @property
    def real_images(self) -> ImageSet:
        """The training images as evaluation may see them: without generated ones."""
        images = self.train_images
        if isinstance(images, Inflated):
            return images.real
        return images.first(int((images.source == 0).sum())) if isinstance(images, Stack) else images

    def state_dict(self) -> dict[str, int]:
        """Return what has been trained on: what has been loaded may be ahead of it."""
        if self.trainer is None:
            return {"batches": self.served}
        return {"batches": self.trainer.fit_loop.epoch_loop.batch_progress.total.processed}  # pyright: ignore[reportAttributeAccessIssue]

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.served = state_dict["batches"]

    @property
    def _train_sets(self) -> list[ImageSet]:
        """Return the sets that are held in memory together or not at all."""
        return [self.train_images, *([self.partners.images] if self.partners else [])]

    def _hold(self, images: ImageSet, *beside: ImageSet) -> tuple[ImageSet, Int[Tensor, " m"]]:
        """The images in memory, if they are to be and are not yet, and the rows that cannot be read."""
        if images.stack is None and self._fits(images, *beside):
            try:
                return load(images, self._bad_files(images))
            except UnevenSizes as error:
                if self.resident != "auto":
                    remedy = "set data.held to the side they should have, or data.resident=auto"
                    raise UserError(f"data.resident=true, but {error}: {remedy}") from error
        return images, torch.empty(0, dtype=torch.long)

    def _fits(self, *images: ImageSet) -> bool:
        if self.resident != "auto":
            return self.resident
        return sum(map(bytes_needed, images)) <= self.resident_gib * 2**30

    def _workers(self) -> int:
        if self.workers != "auto":
            return self.workers
        return suggested_max_num_workers(self.trainer.num_devices if self.trainer else 1)

    def _bad_files(self, *images: ImageSet) -> BadFiles:
        return BadFiles(sum(map(len, images)), self.max_bad, self.run_folder)


def _partners(source: Source, made: str | None, size: int | None, held: int | None) -> Partners | None:
    """Those that the data set comes with, or that have been made of it."""
    if not isinstance(source, PairSource):
        return generated_partners(made, len(source.train), size, held) if made else None
    if made:
        raise UserError(f"data.partners={made}, but the images of data have partners already: leave it out")
    return source.partners


def _held_out(label: Int[Tensor, " n"], holdout: int | float, seed: int) -> Int[Tensor, " m"]:
    """A random part of the labelled rows, in order. Rows without a label are of no use to whom it is for."""
    labelled = (label >= 0).nonzero()[:, 0]
    count = holdout if isinstance(holdout, int) else int(holdout * len(labelled))
    if not 0 <= count <= len(label):
        raise UserError(
            f"data.holdout={holdout} of {len(label)} images: expected a share in [0, 1) or a smaller number"
        )
    return labelled[permutation(mix(seed, HOLD_OUT), len(labelled))[:count]].sort().values
