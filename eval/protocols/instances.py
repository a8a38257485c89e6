"""Retrieval of the images that a list names, and detection of copies."""

import time
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.errors import UserError
from ..features.extract import Images, extract
from ..neighbours.pair_ranking import Pairs, best, micro
from ..neighbours.retrieval import POSITIVE, among, joined, listed, measure, rankings
from ..reports.results import Row
from .base import Subject, Tuning
from .ranked import means


@runtime_checkable
class Lists(Protocol):
    """Images to search for, images to search among, and what is to be found: by query, as places in the gallery."""

    queries: Images
    gallery: Images
    positive: Sequence[Int[Tensor, " _"]]
    junk: Sequence[Int[Tensor, " _"]]  # neither right nor wrong

    def fingerprint(self) -> str: ...


class Instances(Tuning):
    """Rankings by cosine of each query, and one ranking of the pairs of all queries.

    Query by query: mean average precision, mAP@R, precision and recall at k, over the queries that have a positive. In
    one ranking, where a query without one can only do harm: micro average precision and the recall at a precision of
    0.9 (Douze et al., 2021). `low` and `high` are of a bootstrap over queries. Images that cannot be read are left out.

    Args:
        table: the name of the lists in the results, under `data`.
        lists: the images and what is to be found.
        ks: depths of precision and recall.
        depth: at most so many images of each query are in the one ranking; None: all.
    """

    label_free = True

    def __init__(self, table: str, lists: Lists, ks: Sequence[int] = (1, 5, 10), depth: int | None = 1000) -> None:
        if min(ks, default=1) < 1 or (depth is not None and depth < 1):
            raise UserError(f"instances with ks={list(ks)} and depth={depth}: expected 1 or more")
        self.table, self.lists, self.ks, self.depth = table, lists, list(ks), depth

    def __call__(self, subject: Subject, seed: int) -> Iterator[Row]:
        started = time.perf_counter()
        how = (subject.view, subject.device, subject.batch_size, subject.precision)
        queries, gallery = (extract(subject.backbone, part, *how) for part in (self.lists.queries, self.lists.gallery))
        relevance = listed(self.lists.positive, self.lists.junk, len(self.lists.gallery))
        measures, pairs, positives = [], [], []
        for found in rankings(queries.features, gallery.features, among(relevance, queries.row, gallery.row)):
            measures.append(measure(found.relevance, self.ks))
            pairs.append(best(found, self.depth))
            positives.append((found.relevance == POSITIVE).sum(1))
        rows = list(means("instance", joined(measures), queries.row, seed))
        pooled = Pairs(*map(torch.cat, zip(*pairs, strict=True)))
        for name, (value, low, high) in micro(pooled, torch.cat(positives), seed).items():
            rows.append({"metric": f"instance_{name}", "value": value, "low": low, "high": high, "n": len(queries.row)})
        about = {"gallery": len(gallery.row), "data": self.table, "test": self.lists.fingerprint()[:16]}
        about |= {"protocol": "instances@1", "seconds": time.perf_counter() - started}
        yield from (row | about for row in rows)
