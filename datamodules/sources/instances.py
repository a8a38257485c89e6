"""Images to search for and images to search among, with a list of what is to be found."""

from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.errors import UserError
from .csv_list import read
from .folder import Files

COLUMNS = ("query", "image", "relevance")
POSITIVE, JUNK, NEGATIVE = WORDS = ("positive", "junk", "negative")
SHOWN = 3
Pairs = dict[tuple[str, str], str]  # relevance by query and image; a distractor has no query


class Instances:
    """Queries, a gallery, and for each query the places of its positives and of its junk in the gallery.

    A CSV file lists them by its columns `query`, `image` and `relevance` (positive, junk or negative), with paths
    relative to its folder; queries and images are in the order of their first appearance. An image that is not named
    for a query is negative to it, a distractor, whose row has no query, to all. A query that stands in the gallery is
    junk to itself unless the list says otherwise.

    Args:
        table: the CSV file.
        size: side of the views, which tells how small a JPEG may be decoded.
        held: side that images are resized and cut to, if any.
    """

    def __init__(self, table: str, size: int | None = None, held: int | None = None) -> None:
        file = Path(table).expanduser()
        pairs = _pairs(read(file, COLUMNS, f"give it the columns {', '.join(COLUMNS)}"), file)
        queries = list(dict.fromkeys(query for query, _ in pairs if query))
        gallery = list(dict.fromkeys(image for _, image in pairs))
        _refuse_missing(file, list(dict.fromkeys(queries + gallery)))
        alone = {(name, name): JUNK for name in {*queries} & {*gallery}}
        self.positive, self.junk = (_places(alone | pairs, word, queries, gallery) for word in (POSITIVE, JUNK))
        if (asking := sum(len(places) > 0 for places in self.positive)) < 2:
            raise UserError(
                f"{file} has positives for {asking} of {len(queries)} queries: expected two queries or more with an "
                "image of relevance positive"
            )
        self.queries, self.gallery = (
            Files(file.parent, names, torch.full((len(names),), -1), (), size, held) for names in (queries, gallery)
        )
        self.said = sha256(str(sorted(pairs.items())).encode()).hexdigest()

    def fingerprint(self) -> str:
        """A hash that changes when any image does, or what is said of one."""
        return sha256(f"{self.queries.fingerprint()} {self.gallery.fingerprint()} {self.said}".encode()).hexdigest()


def _pairs(table: pa.Table, file: Path) -> Pairs:
    """Return the pairs of the list, in its order."""
    pairs: Pairs = {}
    for query, image, said in zip(*(table[name].to_pylist() for name in COLUMNS), strict=True):
        word = said if query else said or NEGATIVE
        if not image:
            raise UserError(f"{file} has a row without an image (its query is {query!r}): name one, or remove it")
        if word not in (WORDS if query else (NEGATIVE,)):
            allowed = f"expected {', '.join(WORDS)}" if query else "a distractor is negative, or its relevance empty"
            raise UserError(f"{file} has relevance {word!r} of image {image!r} to query {query!r}: {allowed}")
        _refuse_other(pairs, (query, image), word, file)
        pairs[query, image] = word
    for query, image in pairs:
        if ("", image) in pairs:
            _refuse_other(pairs, (query, image), NEGATIVE, file)
    return pairs


def _refuse_other(pairs: Pairs, pair: tuple[str, str], word: str, file: Path) -> None:
    if pairs.get(pair, word) != word:
        query, image = pair
        raise UserError(
            f"{file} has image {image!r} as {pairs[pair]} and, in another row, as {word} to query {query!r} (a row "
            "without a query says negative to all): leave one of them"
        )


def _refuse_missing(file: Path, names: list[str]) -> None:
    missing = [name for name in names if not (file.parent / name).is_file()]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (", …" if len(missing) > SHOWN else "")
        raise UserError(
            f"{len(missing)} of {len(names)} images in {file} are missing ({shown}): give paths relative to its folder"
        )


def _places(pairs: Pairs, word: str, queries: list[str], gallery: list[str]) -> list[Int[Tensor, " _"]]:
    """Return the places of the images of this relevance, for each query."""
    place = {name: i for i, name in enumerate(gallery)}
    found: dict[str, list[int]] = {name: [] for name in queries}
    for (query, image), said in pairs.items():
        if said == word:
            found[query].append(place[image])
    return [torch.tensor(places, dtype=torch.long) for places in found.values()]
