"""The similarity of two backbones' features of the same images."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from torch import nn

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from ..features.extract import PlainView, extract
from ..features.store import FeatureStore
from ..measures.cka import cka, debiased_cka
from ..reports.results import Row
from .base import Subject, Tuning

FEWEST = 4  # images that debiased CKA needs


@runtime_checkable
class Seer(Protocol):
    """Another backbone, and how it sees images."""

    name: str
    backbone: nn.Module
    view: PlainView


class CKA(Tuning):
    """Centred kernel alignment with another backbone on images of train: 1 if one is the other but for a rotation.

    `cka` is Kornblith et al.'s (2019), which comes near 1 by chance where images are few beside dimensions; the chance
    value of `cka_debiased` (Nguyen et al., 2021) is 0. Each layer of the one is compared with each of the other.

    Args:
        other: the other backbone.
        rows: at most so many images.
        layers: of the backbone that is measured.
        other_layers: of the other.
    """

    label_free = True

    def __init__(
        self, other: Seer, rows: int = 10_000, layers: Sequence[str] = ("h",), other_layers: Sequence[str] = ("h",)
    ) -> None:
        if rows < FEWEST:
            raise UserError(f"CKA of rows={rows} images: expected {FEWEST} or more")
        self.other, self.rows, self.layers, self.other_layers = other, rows, layers, other_layers
        _check(other.backbone, other_layers, "other_layers")

    @property
    def reads(self) -> Sequence[str]:
        return self.layers

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        super().check(train, test)
        if len(train.row) < FEWEST:
            raise UserError(f"CKA needs {FEWEST} images or more, but train has {len(train.row)}")

    def __call__(self, subject: Subject, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        _check(subject.backbone, self.layers, "layers")
        some = permutation(mix(seed), len(subject.train))[: self.rows].sort().values
        how = {"device": subject.device, "batch_size": subject.batch_size, "precision": subject.precision}
        see = partial(extract, images=subject.train, rows=some, **how)
        mine = see(subject.backbone, view=subject.view, layers=self.layers)
        theirs = see(self.other.backbone.to(subject.device), view=self.other.view, layers=self.other_layers)
        for layer in self.layers:
            for other_layer in self.other_layers:
                x, y = mine.at(layer).features, theirs.at(other_layer).features
                about = {"n": len(x), "layer": layer, "other_layer": other_layer, "other": self.other.name}
                for metric, measure in {"cka": cka, "cka_debiased": debiased_cka}.items():
                    row = {"metric": metric, "value": measure(x, y).item(), **about, "protocol": "cka@1"}
                    yield {**row, "seconds": time.perf_counter() - started}


def _check(backbone: nn.Module, layers: Sequence[str], name: str) -> None:
    offered = getattr(backbone, "layers", ("h",))
    if absent := [layer for layer in layers if layer not in offered]:
        raise UserError(f"cka.{name}={list(layers)}: there is no {', '.join(absent)} but {', '.join(offered)}")
