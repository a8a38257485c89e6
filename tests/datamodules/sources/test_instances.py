"""A list of queries, images and their relevance."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sslab.datamodules.reading.decode import decode
from sslab.datamodules.sources.instances import Instances
from sslab.ssl.core.errors import UserError

LINES = [
    "image,note,relevance,query",  # in any order, beside other columns
    "g/a.png,1,positive,q/x.png",
    "g/d.png,,,",
    "g/b.png,,junk,q/y.png",
    "q/x.png,,negative,q/y.png",
    "g/b.png,,positive,q/x.png",
    "g/a.png,,positive,q/y.png",
    "g/e.png,,negative,",
    "g/a.png,2,positive,q/x.png",  # said already
    "g/d.png,,negative,q/z.png",
]


@pytest.fixture
def write(paint: Any, tmp_path: Path) -> Any:
    for name in ("g/a", "g/b", "g/d", "g/e", "q/x", "q/y", "q/z"):
        paint(f"{name}.png")

    def table(*lines: str) -> str:
        (tmp_path / "lists.csv").write_text("\n".join(lines))
        return str(tmp_path / "lists.csv")

    return table


def names(places: list[torch.Tensor], lists: Instances) -> list[list[str]]:
    return [[Path(lists.gallery.content(int(i))[0]).name for i in place] for place in places]


def test_images_are_in_the_order_of_their_first_appearance(write: Any, tmp_path: Path) -> None:
    lists = Instances(write(*LINES))
    for images, order in (
        (lists.queries, ("q/x", "q/y", "q/z")),
        (lists.gallery, ("g/a", "g/d", "g/b", "q/x", "g/e")),
    ):
        assert len(images) == len(order)
        for row, name in enumerate(order):
            assert torch.equal(images.read(row), decode("", tmp_path / f"{name}.png"))
    assert names(lists.positive, lists) == [["a.png", "b.png"], ["a.png"], []]
    assert names(lists.junk, lists) == [["x.png"], ["b.png"], []]  # the query itself, which the list says nothing of
    assert Instances(write(*LINES), held=5).gallery.read(0).shape == (3, 5, 5)


def test_a_query_may_be_its_own_positive(write: Any) -> None:
    lists = Instances(write("query,image,relevance", *(f"{q},{q},positive" for q in ("q/x.png", "q/y.png"))))
    assert names(lists.positive, lists) == [["x.png"], ["y.png"]]
    assert names(lists.junk, lists) == [[], []]


def test_the_fingerprint_is_of_images_and_relevance(write: Any, paint: Any) -> None:
    first = Instances(write(*LINES)).fingerprint()
    assert Instances(write(*LINES)).fingerprint() == first
    other = Instances(write(*(line.replace("junk", "positive") for line in LINES))).fingerprint()
    paint("g/e.png", 20, 20)
    assert len({first, other, Instances(write(*LINES)).fingerprint()}) == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({0: "image,note,relevance,ask"}, "has no column query but image, note, relevance, ask: give it the columns q"),
        ({1: "g/a.png,1,good,q/x.png"}, "relevance 'good' of image 'g/a.png' to query 'q/x.png': expected positive, j"),
        ({1: "g/a.png,1,,q/x.png"}, "has relevance '' of image 'g/a.png' to query 'q/x.png': expected positive"),
        ({2: "g/d.png,,junk,"}, "relevance 'junk' of image 'g/d.png' to query '': a distractor is negative, or its"),
        ({8: "g/a.png,,junk,q/x.png"}, "'g/a.png' as positive and, in another row, as junk to query 'q/x.png' .*: lea"),
        ({7: "g/b.png,,,"}, "image 'g/b.png' as junk and, in another row, as negative to query 'q/y.png'"),
        ({4: ",,negative,q/y.png"}, r"has a row without an image \(its query is 'q/y.png'\): name one, or remove it"),
        ({6: "g/a.png,,junk,q/y.png"}, "has positives for 1 of 3 queries: expected two queries or more with"),
        ({7: "g/f.png,,,"}, r"1 of 7 images in .*lists.csv are missing \(g/f.png\): give paths relative to its folder"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(write: Any, changed: dict[int, str], message: str) -> None:
    table = write(*(changed.get(i, line) for i, line in enumerate(LINES)))
    with pytest.raises(UserError, match=message):
        Instances(table)


def test_files_that_are_no_lists_are_refused(write: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere.csv is no CSV file that can be read"):
        Instances(str(tmp_path / "nowhere.csv"))
    with pytest.raises(UserError, match="is no CSV file that can be read"):
        Instances(write(""))
    with pytest.raises(UserError, match="has no rows"):
        Instances(write(LINES[0], ""))
    with pytest.raises(UserError, match="no CSV file that can be read"):
        Instances(str(tmp_path / "g/a.png"))
    pq.write_table(pa.table({"query": ["q/x.png"], "image": ["g/a.png"]}), tmp_path / "lists.parquet")
    with pytest.raises(UserError, match="no CSV file that can be read"):
        Instances(str(tmp_path / "lists.parquet"))
