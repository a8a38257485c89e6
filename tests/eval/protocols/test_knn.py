import pytest
from samples import clusters
from sslab.eval.neighbours.knn import knn
from sslab.eval.protocols.knn import KNN


def test_every_k_and_temperature_has_a_row():
    train, test = clusters(200, spread=2), clusters(80, seed=1, spread=2)
    rows = list(KNN([5, 20], [0.07, 1.0])(train, test, 0))
    assert [(row["k"], row["T"]) for row in rows] == [(5, 0.07), (5, 1.0), (20, 0.07), (20, 1.0)]
    for row, prediction in zip(rows, knn(train, test, [5, 20], [0.07, 1.0]).values(), strict=True):
        assert row["value"] == (prediction == test.label).double().mean().item()
        assert row["protocol"] == "knn@1"
        assert "recall" not in row


def test_an_inverted_file_has_another_name_and_its_recall():
    train, test = clusters(400, spread=2), clusters(80, seed=1, spread=2)
    (exact,) = KNN([5])(train, test, 0)
    (whole,) = KNN([5], probes=400)(train, test, 0)
    (few,) = KNN([5], probes=3)(train, test, 0)
    assert (whole["value"], whole["recall"]) == (pytest.approx(exact["value"]), 1)
    assert (few["protocol"], few["probes"]) == ("knn-ivf@1", 3)
    assert 0.1 < few["recall"] < 1
