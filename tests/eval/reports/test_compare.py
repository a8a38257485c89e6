from pathlib import Path

import pytest
import torch
from sslab.eval.reports.compare import compare
from sslab.eval.reports.results import write
from sslab.ssl.core.errors import UserError

ROW = {
    "representation": "trained",
    "metric": "knn_accuracy",
    "k": 20,
    "T": 0.07,
    "layer": "h",
    "test": "t",
    "data": "d",
}


def results(folder: Path, hits: list[int], **changed: object) -> Path:
    folder.mkdir()
    row = {**ROW, "value": sum(hits) / len(hits), "standard_error": 0.1, **changed}
    rankme = {**ROW, "metric": "rankme", "value": float(sum(hits))}
    score = torch.arange(len(hits)), torch.tensor(hits).float()
    write([row, rankme], folder, {0: score})
    return folder


def test_difference_with_a_paired_interval(tmp_path):
    a, b = results(tmp_path / "a", [1, 1, 1, 0] * 50), results(tmp_path / "b", [1, 0, 1, 0] * 50)
    head_a, head_b, title, knn, rankme = compare([a, b]).splitlines()
    assert (head_a, head_b) == (f"a  {a}", f"b  {b}")
    assert title.split() == ["a", "b", "a", "-", "b", "95", "%", "p", "n"]
    name, *cells = knn.split("  ")[0], *knn.split()[3:]
    assert name == "trained, knn k=20"
    assert cells[:5] == ["75.00", "%", "50.00", "%", "+25.00"]
    low, to, high, p, n = cells[5:]
    assert to == "to"
    assert 18 < float(low) < 20 < 30 < float(high) < 32  # 1.96 · √(.25 · .75 / 200) = 6.0 to either side
    assert (p, n) == ("0.000", "200")
    assert rankme.split()[-3:] == ["150", "100", "50"]


def test_an_evaluation_is_like_itself(tmp_path):
    a, b = results(tmp_path / "a", [1, 0, 1]), results(tmp_path / "b", [1, 0, 1])
    assert "+0.00  +0.00 to +0.00  1.000  3" in compare([a, b])


@pytest.mark.parametrize(
    ("hits", "changed", "message"),
    [
        ([1, 0], {"test": "other"}, "measured on other test images"),
        ([1, 0, 1], {}, "measured on other test images"),
        ([1, 0], {"representation": "untrained"}, None),
    ],
)
def test_what_cannot_be_compared(tmp_path, hits, changed, message):
    a, b = results(tmp_path / "a", [1, 0]), results(tmp_path / "b", hits, **changed)
    if message is None:
        assert "knn" not in compare([a, b])
    else:
        with pytest.raises(UserError, match=message):
            compare([a, b])


def test_folders_without_results(tmp_path):
    with pytest.raises(UserError, match="holds no results of an evaluation"):
        compare([tmp_path, tmp_path])
    with pytest.raises(UserError, match="two folders of results, but was given 1"):
        compare([tmp_path])
    a = results(tmp_path / "a", [1, 0])
    (tmp_path / "b").mkdir()
    write([{**ROW, "metric": "nmi", "value": 0.5}], tmp_path / "b")
    with pytest.raises(UserError, match="no metric in common"):
        compare([a, tmp_path / "b"])
