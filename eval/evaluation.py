"""The evaluation at the end of a run: trained beside untrained beside pixels, so that a number means something."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..ssl.errors import UserError
from .extract import Images, Pixels, PlainView, extract, known
from .protocols.protocol import Protocol
from .results import Row, table, write
from .store import FeatureStore

NOTHING = torch.arange(0)
log = logging.getLogger(__name__)


class Evaluation:
    """Measures frozen backbones by every protocol, from one pass over the images; writes `results.json`.

    Labels are optional: a protocol that cannot do without them is left out, with a warning.

    Args:
        protocols: what is measured, by name.
        seed: of all that is random in a protocol.
        batch_size: images per pass of the backbone.
        precision: of the backbone, as Lightning names it; None: 32-true.
    """

    def __init__(
        self,
        protocols: Mapping[str, Protocol],
        seed: int = 0,
        batch_size: int = 512,
        precision: str | None = None,
    ) -> None:
        self.protocols, self.seed = dict(protocols), seed
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
        features = partial(extract, view=view, device=device, batch_size=self.batch_size, precision=self.precision)
        protocols = self._feasible(train, test)
        rows = []
        for name, backbone in {**backbones, "pixels": Pixels()}.items():
            chosen = [p for p in protocols if not (p.label_free and name == "pixels")]
            if not chosen:
                continue
            bank = features(backbone, train)
            tested = not all(p.label_free for p in chosen)
            queries = features(backbone, test) if tested and test is not None else bank.take(NOTHING)
            about = {**meta, "representation": name, **bank.meta, "seed": self.seed}
            rows += [{**about, **row} for protocol in chosen for row in protocol(bank, queries, self.seed)]
        write(rows, folder / "results.json")
        print(table(rows))
        return rows

    def _feasible(self, train: Images, test: Images | None) -> list[Protocol]:
        """The protocols that these images allow, with a warning for every other."""
        bank = known(train)
        queries = bank.take(NOTHING) if test is None else known(test)
        feasible = []
        for name, protocol in self.protocols.items():
            try:
                protocol.check(bank, queries)
                feasible.append(protocol)
            except UserError as reason:
                log.warning("%s is left out: %s", name, reason)
        if not all(protocol.label_free for protocol in feasible):
            _warn_of_unseen(bank.labelled(), queries.labelled())
        return feasible


def _warn_of_unseen(train: FeatureStore, test: FeatureStore) -> None:
    unseen = test.label[~torch.isin(test.label, train.label)]
    if len(unseen):
        names = ", ".join(map(str, unseen.unique().tolist()))
        log.warning("%d test images of classes without a training image (%s) count as errors", len(unseen), names)
