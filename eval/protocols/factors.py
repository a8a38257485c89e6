"""Protocols on each factor of the images."""

import logging
from collections.abc import Iterator, Mapping

from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..reports.results import Row
from .base import Protocol, obstacle

Target = tuple[str, FeatureStore, FeatureStore]
log = logging.getLogger(__name__)


class Factors(Protocol):
    """Other protocols, once for the class and once for each factor in its place.

    Each row names its `factor`, and `chance`: the accuracy of always answering the value that is most frequent in
    test. A factor without labels, or with one value only, is left out, with a warning.

    Args:
        protocols: what is measured of each factor, by name.
    """

    def __init__(self, protocols: Mapping[str, Protocol]) -> None:
        self.protocols = dict(protocols)

    def check(self, train: FeatureStore, test: FeatureStore) -> None:
        left = [target for target in _targets(train, test) if not left_out(target[0], obstacle(*target[1:]))]
        if not left:
            raise UserError("neither the class nor a factor of the images can be measured: give data where one can")
        for _, *target in left:
            for protocol in self.protocols.values():
                protocol.check(*target)

    def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
        for name, known, unknown in _targets(train, test):
            if obstacle(known, unknown):
                continue
            about = {"factor": name, "chance": _chance(unknown)}
            for protocol in self.protocols.values():
                yield from ({**row, **about} for row in protocol(known, unknown, seed))


def each_factor(train: FeatureStore, test: FeatureStore) -> list[Target]:
    """Every factor: its name, and both stores with it for a label; refused where there are none."""
    if not train.factor_names:
        raise UserError(
            "the images have no factors: choose data that has, such as data=shapes, or name their columns by "
            "data.factors"
        )
    return [
        (name, train._replace(label=train.factors[:, i]), test._replace(label=test.factors[:, i]))
        for i, name in enumerate(train.factor_names)
    ]


def left_out(name: str, reason: str | None) -> bool:
    """Tell whether there is a reason, and log it."""
    if reason:
        log.warning("factor %s is left out: %s", name, reason)
    return bool(reason)


def _targets(train: FeatureStore, test: FeatureStore) -> list[Target]:
    return [("class", train, test), *each_factor(train, test)]


def _chance(test: FeatureStore) -> float:
    label = test.labelled().label
    return label.bincount().max().item() / len(label)
