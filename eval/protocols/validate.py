"""The rows that a protocol can use."""

from ...ssl.core.errors import UserError
from ..features.store import FeatureStore
from ..measures.moments import CHUNK

SHOWN = 8


def usable(store: FeatureStore) -> FeatureStore:
    """The rows with a label; refused where a feature is no finite number."""
    return finite(store.labelled())


def finite(store: FeatureStore) -> FeatureStore:
    bad = [
        row
        for rows, x in zip(store.row.split(CHUNK), store.features.split(CHUNK), strict=True)
        for row in rows[~x.isfinite().all(1)].tolist()
    ]
    if bad:
        more = ", …" if len(bad) > SHOWN else ""
        raise UserError(f"features of rows {', '.join(map(str, bad[:SHOWN]))}{more} are not finite: extract them again")
    return store


def classes(store: FeatureStore) -> list[int]:
    """The classes of the test images; refused where there are fewer than two."""
    found = store.label[store.label >= 0].unique().tolist()
    if not found:
        raise UserError("there are no labelled images to test on")
    if len(found) == 1:
        raise UserError(f"all labelled test images are of class {found[0]}")
    return found
