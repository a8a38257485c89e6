"""The evaluation of a run, or of any backbone, by every protocol that is asked for."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..ssl.core.distributed import rank
from ..ssl.core.errors import UserError
from .features.extract import Images, Pixels, PlainView, extract, known
from .features.feature_cache import Disk
from .features.store import FeatureStore
from .protocols.base import Protocol, Subject, Tuning
from .reports.results import Row, Score, table, write

NOTHING = torch.arange(0)
log = logging.getLogger(__name__)


class Evaluation:
    """Measures frozen backbones by every protocol, from one pass over the images.

    Writes `results.json`, the same as `results.csv` and, for comparisons image by image, `scores.npz`. Labels are
    optional: a protocol that cannot do without them is left out, with a warning.

    Args:
        protocols: what is measured, by name.
        seed: of all that is random in a protocol.
        batch_size: images per pass of the backbone.
        precision: of the backbone, as Lightning names it; None: 32-true.
        features: a folder where features are kept for the next time; None: they are not.
        strict: whether a protocol that cannot be measured is an error.
    """

    def __init__(
        self,
        protocols: Mapping[str, Protocol | Tuning],
        seed: int = 0,
        batch_size: int = 512,
        precision: str | None = None,
        features: str | None = None,
        strict: bool = False,
    ) -> None:
        self.protocols, self.seed = dict(protocols), seed
        self.batch_size, self.precision = batch_size, precision or "32-true"
        self.extract = extract if features is None else Disk(Path(features).expanduser())
        self.strict = strict

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
        protocols = self._feasible(next(iter(backbones.values())), train, test)
        _make(folder)
        rows: list[Row] = []
        scores: dict[int, Score] = {}
        for name, backbone in backbones.items():
            baseline = isinstance(backbone, Pixels)
            chosen = [p for p in protocols if not (baseline and (p.label_free or isinstance(p, Tuning)))]
            subject = Subject(backbone, train, test, view, device, self.batch_size, self.precision)
            for row in self._rows(subject, chosen):
                if "scores" in row:
                    scores[len(rows)] = row.pop("scores")
                rows.append({**meta, "representation": name, "seed": self.seed, **row})
        if rank() == 0:
            write(rows, folder, scores)
            print(table(rows))
        return rows

    def _rows(self, subject: Subject, protocols: Sequence[Protocol | Tuning]) -> Iterator[Row]:
        frozen = [protocol for protocol in protocols if isinstance(protocol, Protocol)]
        if frozen:
            yield from self._of_features(subject, frozen)
        about = {"layer": "h", "precision": self.precision}
        for protocol in protocols if rank() == 0 else ():
            if isinstance(protocol, Tuning):
                yield from ({**about, **row} for row in protocol(subject, self.seed))

    def _of_features(self, subject: Subject, protocols: Sequence[Protocol]) -> Iterator[Row]:
        """All ranks extract features, the first measures them."""
        offered = getattr(subject.backbone, "layers", ("h",))
        wanted = {layer for protocol in protocols for layer in _read(protocol, offered)}
        layers = [layer for layer in offered if layer in wanted] or ["h"]
        bank, queries = self._stores(subject, layers, not all(p.label_free for p in protocols))
        for protocol in protocols if rank() == 0 else ():
            read = _read(protocol, offered)
            if protocol.layers is None and not read <= {*offered}:
                parts = []  # of pixels, which are no backbone's layers
            elif protocol.layers is None:
                hidden = {"z"} - read
                parts = [(bank.without(*hidden), queries.without(*hidden))]
            else:
                parts = [(bank.at(layer), queries.at(layer)) for layer in protocol.layers if layer in offered]
            for train, test in parts:
                yield from ({**train.meta, **row} for row in protocol(train, test, self.seed))

    def _stores(self, subject: Subject, layers: Sequence[str], tested: bool) -> tuple[FeatureStore, FeatureStore]:
        """Features to compare with, and features to test on."""
        setting = subject.view, subject.device, self.batch_size, self.precision
        features = partial(self.extract, layers=layers)
        bank = features(subject.backbone, subject.train, *setting)
        if not tested or subject.test is None:
            return bank, bank.take(NOTHING)
        return bank, features(subject.backbone, subject.test, *setting)

    def _feasible(self, backbone: nn.Module, train: Images, test: Images | None) -> list[Protocol | Tuning]:
        """The protocols that this backbone and these images allow; every other is an error, or a warning."""
        bank = known(train)
        queries = bank.take(NOTHING) if test is None else known(test)
        feasible = []
        for name, protocol in self.protocols.items():
            try:
                _check_layers(protocol.reads, getattr(backbone, "layers", ("h",)))
                protocol.check(bank, queries)
                feasible.append(protocol)
            except UserError as reason:
                if self.strict:
                    raise UserError(f"{name} cannot be measured: {reason}") from None
                log.warning("%s is left out: %s", name, reason)
        if not all(protocol.label_free for protocol in feasible):
            _warn_of_unseen(bank.labelled(), queries.labelled())
        return feasible


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write results to {folder} ({error.strerror}): set out=<a folder>") from None


def _read(protocol: Protocol, offered: Sequence[str]) -> set[str]:
    """The layers that a protocol reads: all but a head's output, if it names none."""
    return {*offered} - {"z"} if protocol.reads is None else {*protocol.reads}


def _check_layers(asked: Sequence[str] | None, offered: Sequence[str]) -> None:
    """Refuse a layer that is not there, but for a head's output `z` beside others: many backbones have no head."""
    if asked is None:
        return
    if not asked:
        raise UserError(f"layers=[] names none: there are {', '.join(offered)}")
    absent = [layer for layer in asked if layer not in offered]
    if absent and (absent == [*asked] or absent != ["z"]):
        raise UserError(f"the backbone has no layer {', '.join(absent)}: there are {', '.join(offered)}")


def _warn_of_unseen(train: FeatureStore, test: FeatureStore) -> None:
    unseen = test.label[~torch.isin(test.label, train.label)]
    if len(unseen):
        names = ", ".join(map(str, unseen.unique().tolist()))
        log.warning("%d test images of classes without a training image (%s) count as errors", len(unseen), names)
