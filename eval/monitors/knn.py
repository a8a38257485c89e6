"""kNN accuracy during training, on images that are never trained on."""

from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.draws import mix, permutation
from ..features.extract import extract
from ..neighbours.knn import knn
from .periodic import Periodic


class OnlineKNN(Periodic):
    """Weighted kNN accuracy of held-out rows against a fixed random part of the training rows.

    The features are the backbone's own, in eval mode and without augmentation. Without labels, without held-out rows
    or with fewer than `k` labelled rows to compare with, nothing is measured.

    Args:
        every: optimiser steps between two readings.
        bank: number of training rows to compare with.
        queries: at most so many held-out rows are classified.
        k: number of neighbours.
        temperature: of their votes.
        batch_size: images per pass.
    """

    def __init__(
        self,
        every: int = 200,
        bank: int = 2048,
        queries: int = 512,
        k: int = 20,
        temperature: float = 0.07,
        batch_size: int = 512,
    ) -> None:
        super().__init__(every)
        self.bank, self.queries, self.k = bank, queries, k
        self.temperature, self.batch_size = temperature, batch_size

    def measure(self, trainer: pl.Trainer, module: Any) -> dict[str, float]:
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if data is None or not trainer.is_global_zero:
            return {}
        images = data.real_images
        bank, queries = self._rows(images.label, data.held_out)
        if len(queries) == 0 or len(bank) < self.k or len(images.label[bank].unique()) < 2:
            return {}
        setting = module.plain_view, module.device, self.batch_size, trainer.precision
        known, unknown = (extract(module.backbone, images, *setting, rows) for rows in (bank, queries))
        (prediction,) = knn(known, unknown, [self.k], [self.temperature]).values()
        return {"knn_accuracy": (prediction == unknown.label).double().mean().item()}

    def _rows(
        self, label: Int[Tensor, " n"], held_out: Int[Tensor, " m"]
    ) -> tuple[Int[Tensor, " b"], Int[Tensor, " q"]]:
        """Labelled rows to compare with, and labelled rows to classify."""
        order = permutation(mix(0), len(label))
        order = order[label[order] >= 0]
        unseen = torch.isin(order, held_out)
        return order[~unseen][: self.bank], order[unseen][: self.queries]
