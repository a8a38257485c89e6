"""Lists of images of one colour, whose cosines are known, from the CSV file to the rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import Float
from PIL import Image
from samples import images
from sslab.datamodules.sources import instances
from sslab.datamodules.views.plain import Plain
from sslab.eval.protocols.base import Subject
from sslab.eval.protocols.instances import Instances
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Features
from torch import Tensor, nn

COLOURS = {
    "red": (240, 0, 0),
    "rose": (240, 60, 0),
    "rust": (240, 120, 0),
    "blue": (0, 0, 240),
    "navy": (0, 30, 240),
    "lime": (0, 240, 0),
    "teal": (0, 240, 60),
    "black": (20, 20, 20),
}
LINES = [
    "query,image,relevance",
    "lime.png,teal.png,negative",  # a query without a positive
    "red.png,rose.png,junk",
    "red.png,rust.png,positive",
    "red.png,navy.png,positive",
    "blue.png,navy.png,positive",
    ",black.png,",
]
# cosine  teal  rose  rust  navy  black
# lime    .970  .243  .447  .124  .577
# red     0     .970  .894  0     .577
# blue    .243  0     0     .992  .577


class Colour(nn.Module):
    """The mean of each channel."""

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Features:
        return Features(image.mean((2, 3)), image, image.flatten(2).transpose(1, 2))


def subject() -> Subject:
    view = Plain(4, [0.0] * 3, [1.0] * 3)
    return Subject(Colour(), images(3, size=4), None, view, torch.device("cpu"), 2, "32-true")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        Image.new("RGB", (6, 5), colour).save(tmp_path / f"{name}.png")
    return write(tmp_path, *LINES)


def write(folder: Path, *lines: str) -> Path:
    (folder / "lists.csv").write_text("\n".join(lines))
    return folder / "lists.csv"


def run(table: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    protocol = Instances("colours", instances.Instances(str(table)), [1, 2], **settings)
    return {row["metric"].removeprefix("instance_"): row for row in protocol(subject(), 0)}


def values(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {name: row["value"] for name, row in rows.items()}


def test_by_hand(table):
    rows = run(table)
    red = (1 + (1 / 3 + 2 / 4) / 2) / 2  # rust, black, teal, navy: positives at ranks 0 and 3
    expected = {
        "map": (red + 1) / 2,
        "map_at_r": (1 / 2 + 1) / 2,
        "precision_at_1": 1,
        "precision_at_2": (1 / 2 + 1) / 2,
    }
    expected |= {"recall_at_1": 1, "recall_at_2": 1}
    # navy of blue, teal of lime, rust of red, seven wrong pairs, and navy of red behind three others at 0
    expected |= {"micro_ap": (1 + 2 / 3 + 3 / 14) / 3, "recall_at_p90": 1 / 3}
    assert values(rows) == pytest.approx(expected)
    for name, row in rows.items():
        assert row["n"] == (3 if name in ("micro_ap", "recall_at_p90") else 2)
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["protocol"], row["gallery"], row["data"]) == ("instances@1", 5, "colours")
        assert row["test"] == instances.Instances(str(table)).fingerprint()[:16]
    where, score = rows["map"]["scores"]
    assert where.tolist() == [1, 2]
    assert score.tolist() == pytest.approx([red, 1])


def test_depth_leaves_true_pairs_out_and_they_count_as_missed(table):
    assert run(table, depth=1)["micro_ap"]["value"] == pytest.approx((1 + 2 / 3) / 3)
    whole, deep = run(table, depth=None), run(table, depth=5)
    assert values(whole) == values(deep) == values(run(table))


def test_a_query_without_a_positive_does_harm_in_the_one_ranking_alone(table, tmp_path):
    with_lime, without = run(table), run(write(tmp_path, *LINES[:1], ",teal.png,", *LINES[2:]))
    assert without.pop("micro_ap")["value"] == pytest.approx((1 + 1 + 3 / 9) / 3)
    assert without.pop("recall_at_p90")["value"] == pytest.approx(2 / 3)
    assert values(without) == {name: with_lime[name]["value"] for name in without}


def test_images_that_cannot_be_read_leave_the_others_in_place(table, tmp_path, caplog):
    for name in ("lime", "teal"):  # the first query and the first of the gallery
        (tmp_path / f"{name}.png").write_bytes(b"nothing")
    rows = run(table)
    assert "1 of 3 images cannot be read" in caplog.text
    assert "1 of 5 images cannot be read" in caplog.text
    assert (rows["micro_ap"]["n"], rows["micro_ap"]["gallery"]) == (2, 4)
    assert rows["map"]["value"] == pytest.approx(((1 + (1 / 2 + 2 / 3) / 2) / 2 + 1) / 2)
    assert rows["micro_ap"]["value"] == pytest.approx((1 + 1 + 3 / 7) / 3)
    assert rows["map"]["scores"][0].tolist() == [1, 2]


def test_nothing_left_to_be_found_is_refused(table, tmp_path):
    for name in ("rust", "navy"):
        (tmp_path / f"{name}.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="no query has a positive in the gallery"):
        run(table)


def test_chunks_change_nothing(table, monkeypatch):
    whole = values(run(table))
    monkeypatch.setattr("sslab.eval.neighbours.retrieval.CELLS", 1)
    assert values(run(table)) == pytest.approx(whole)


@pytest.mark.parametrize("settings", [{"ks": [0]}, {"depth": 0}])
def test_settings_that_make_no_sense_are_refused(table, settings):
    with pytest.raises(UserError, match="instances with ks=.* and depth=.*: expected 1 or more"):
        Instances("colours", instances.Instances(str(table)), **settings)
