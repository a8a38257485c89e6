"""The evaluation at the end of a run: trained beside untrained beside pixels, so that a number means something."""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..ssl.draws import mix, permutation
from .extract import Images, Pixels, PlainView, extract
from .geometry import uniformity, uniformity_optimum
from .knn import knn
from .linear import probe
from .results import Row, table, write
from .spectrum import rankme
from .store import FeatureStore

RANK_ROWS, PAIR_ROWS = 25_600, 4096  # at most so many rows enter RankMe and uniformity
log = logging.getLogger(__name__)


class Evaluation:
    """kNN, a linear probe and label-free geometry of frozen backbones; prints a table and writes `results.json`.

    Labels are optional: without them, or with one class, only the label-free metrics remain. A `k` that the labelled
    training rows do not fill is left out, with a warning: under another k the number would be another metric.
    RankMe and uniformity compare within one architecture, so pixels have none.

    Args:
        knn: numbers of neighbours.
        temperature: of the neighbours' votes.
        seed: of the probe's split, order and initial weights.
        batch_size: images per pass of the backbone.
        precision: of the backbone, as Lightning names it; None: 32-true.
    """

    def __init__(
        self,
        knn: Sequence[int] = (20, 200),
        temperature: float = 0.07,
        seed: int = 0,
        batch_size: int = 512,
        precision: str | None = None,
    ) -> None:
        self.knn, self.temperature, self.seed = list(knn), temperature, seed
        self.batch_size, self.precision = batch_size, precision or "32-true"

    def __call__(
        self,
        backbones: Mapping[str, nn.Module],
        train: Images,
        test: Images | None,
        view: PlainView,
        device: torch.device,
        folder: Path,
        meta: Mapping[str, Any],
    ) -> list[Row]:
        """The rows of `results.json`; each repeats `meta`, so that it can stand alone."""
        obstacle = _obstacle(train, test)
        if obstacle:
            log.warning("no kNN and no linear probe: %s", obstacle)
        rows = []
        for name, backbone in {**backbones, **({} if obstacle else {"pixels": Pixels()})}.items():
            stores = [
                extract(backbone, images, view, device, self.batch_size, self.precision)
                for images in ([train] if obstacle or test is None else [train, test])
            ]
            measured = [] if obstacle else [*self._knn(*stores, warn=not rows), *self._linear(*stores)]
            measured += [] if name == "pixels" else self._geometry(stores[0])
            rows += [{**meta, "representation": name, **stores[0].meta, "seed": self.seed, **row} for row in measured]
        write(rows, folder / "results.json")
        print(table(rows))
        return rows

    def _knn(self, train: FeatureStore, test: FeatureStore, warn: bool) -> Iterator[Row]:
        size = len(train.labelled().label)
        fitting = [k for k in self.knn if k <= size]
        if warn and fitting != self.knn:
            left_out = ", ".join(str(k) for k in self.knn if k > size)
            log.warning("kNN with k=%s is left out: only %d training images have a label", left_out, size)
        started = time.perf_counter()
        predictions = knn(train, test, fitting, [self.temperature])
        seconds = time.perf_counter() - started
        for (k, temperature), prediction in predictions.items():
            score = _accuracy(prediction, test)
            setting = {"k": k, "T": temperature, "protocol": "knn@1", "seconds": seconds}
            yield {"metric": "knn_accuracy", **score, **setting}

    def _linear(self, train: FeatureStore, test: FeatureStore) -> Iterator[Row]:
        started = time.perf_counter()
        found = probe(train, test, self.seed)
        setting = {"learning_rate": found.learning_rate, "held_out_accuracy": found.held_out_accuracy}
        score = _accuracy(found.prediction, test)
        about = {"protocol": "linear-standardised-clean@1", "seconds": time.perf_counter() - started}
        yield {"metric": "linear_accuracy", **score, **setting, **about}

    def _geometry(self, train: FeatureStore) -> Iterator[Row]:
        z = train.features[permutation(mix(self.seed), len(train.row))[:RANK_ROWS]]
        few = normalize(z[:PAIR_ROWS])
        for metric, measure, n in (
            ("rankme", lambda: rankme(z), len(z)),
            ("rankme_centred", lambda: rankme(z, centred=True), len(z)),
            ("uniformity", lambda: uniformity(few), len(few)),
            ("uniformity_gap", lambda: uniformity(few) - uniformity_optimum(few.shape[1]), len(few)),
        ):
            started = time.perf_counter()
            row = {"metric": metric, "value": float(measure()), "n": n, "protocol": f"{metric}@1"}
            yield {**row, "seconds": time.perf_counter() - started}


def _accuracy(prediction: Int[Tensor, " n"], test: FeatureStore) -> dict[str, Any]:
    """Share of hits, over all and for each class that is there to be tested."""
    from sklearn.metrics import recall_score  # slow to import, and only needed here

    label = test.labelled().label
    value, n = (prediction == label).double().mean().item(), len(label)
    classes = label.unique().tolist()
    each: Any = None  # scikit-learn's word for no average, which its stubs leave out
    recall: Any = recall_score(label, prediction, labels=classes, average=each)
    per_class = {str(c): share for c, share in zip(classes, recall.tolist(), strict=True)}
    return {"value": value, "standard_error": math.sqrt(value * (1 - value) / n), "n": n, "per_class": per_class}


def _obstacle(train: Images, test: Images | None) -> str | None:
    """Why nothing that needs labels can be measured, if so."""
    known = train.label[train.label >= 0].unique()
    if len(known) == 0:
        return "no training image has a label"
    if len(known) == 1:
        return f"all labelled training images are of class {known.item()}"
    if test is None or not (test.label >= 0).any():
        return "there are no labelled images to test on"
    unseen = (test.label >= 0) & ~torch.isin(test.label, known)
    if unseen.any():
        names = ", ".join(map(str, test.label[unseen].unique().tolist()))
        log.warning("%d test images of classes without a training image (%s) count as errors", unseen.sum(), names)
    return None
