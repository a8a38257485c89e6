"""Average precision of factors, beside scikit-learn's regression of each alone."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from samples import clusters, store
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sslab.eval.features.store import FeatureStore
from sslab.eval.measures.classification import eleven_points
from sslab.eval.probes.held_out import held_out
from sslab.eval.protocols.multilabel import MultiLabel
from sslab.eval.reports.results import write
from sslab.ssl.core.errors import UserError

NAMES = ("left", "up", "blind")


def images(n: int, seed: int) -> FeatureStore:
    """Features that tell two classes with some noise, and a third not at all."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 6, generator=draw)
    noise = torch.randn(n, 3, generator=draw)
    factors = torch.stack([features[:, 0] + noise[:, 0] > 1, features[:, 1] + noise[:, 1] > 0, noise[:, 2] > 0.5], 1)
    nothing = torch.full((n,), -1)
    return store(features.half(), nothing, factors=factors.long(), factor_names=NAMES)


TRAIN, TEST = images(300, 0), images(150, 1)


def run(train: FeatureStore = TRAIN, test: FeatureStore = TEST, **settings: Any) -> dict[str, dict[str, Any]]:
    protocol = MultiLabel(**settings)
    protocol.check(train, test)
    return {row["metric"]: row for row in protocol(train, test, 3)}


def scores(train: FeatureStore, test: FeatureStore, factor: int, penalty: float) -> np.ndarray:
    """W has opposite columns, so λ/2 ‖W‖² = λ/4 ‖w‖² of the difference w of both: C = 2/λ."""
    known = train.factors[:, factor] >= 0
    regression = LogisticRegression(C=2 / penalty, tol=1e-8, max_iter=1000)
    regression.fit(train.features[known].double(), train.factors[known, factor])
    return regression.decision_function(test.features.double())


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    return run()


def test_values_are_those_of_scikit_learn(rows):
    eleven, ordinary = rows["multilabel_voc_map"], rows["multilabel_map"]
    for i, name in enumerate(NAMES):
        score, target = scores(TRAIN, TEST, i, ordinary["penalties"][name]), TEST.factors[:, i] == 1
        assert ordinary["per_class"][name] == pytest.approx(average_precision_score(target, score))
        points = eleven_points(torch.from_numpy(score)[:, None], target[:, None])
        assert eleven["per_class"][name] == pytest.approx(points.item())
    for row in rows.values():
        assert row["value"] == pytest.approx(sum(row["per_class"].values()) / 3)
        assert (row["n"], row["protocol"]) == (150, "multilabel-clean@1")
        assert row["low"] < row["value"] < row["high"]
    assert eleven["per_class"]["up"] > 0.8 > 0.5 > eleven["per_class"]["blind"]


def test_penalties_are_chosen_by_average_precision_on_a_tenth(rows):
    held, rest = held_out(300, 3)
    best = []
    for i, name in enumerate(NAMES):
        precision = {
            penalty: average_precision_score(TRAIN.factors[held, i], scores(TRAIN.take(rest), TRAIN, i, penalty)[held])
            for penalty in (10.0**power for power in range(-3, 4))
        }
        best.append(max(precision.values()))
        assert precision[rows["multilabel_map"]["penalties"][name]] == pytest.approx(best[-1])
    assert rows["multilabel_map"]["held_out_map"] == pytest.approx(np.mean(best))


def test_published_is_the_best_on_test_under_another_name():
    best, grid = run(variant="published"), [100.0, 1.0]
    alone = [run(penalties=[penalty])["multilabel_map"]["per_class"] for penalty in grid]
    chosen = run(variant="published", penalties=grid)["multilabel_map"]
    assert chosen["per_class"] == {name: max(each[name] for each in alone) for name in NAMES}
    assert "held_out_map" not in chosen
    assert best["multilabel_map"]["protocol"] == "multilabel-published@1"
    assert best["multilabel_map"]["value"] >= run()["multilabel_map"]["value"]


def test_unknown_images_are_left_out_of_that_factor_alone(rows):
    train, test = (part._replace(factors=part.factors.clone()) for part in (TRAIN, TEST))
    train.factors[:40, 0] = test.factors[:30, 0] = test.factors[:10, 1:] = -1
    found = run(train, test, penalties=[1.0])
    few = [part._replace(factors=part.factors[:, :1], factor_names=("left",)) for part in (train, test)]
    alone = run(few[0].take(torch.arange(40, 300)), few[1].take(torch.arange(30, 150)), penalties=[1.0])
    for metric, row in found.items():
        assert row["n"] == 140
        assert row["per_class"]["left"] == pytest.approx(alone[metric]["per_class"]["left"])
    beside = run(test=TEST.take(torch.arange(10, 150)), penalties=[1.0])
    assert found["multilabel_map"]["per_class"]["up"] == beside["multilabel_map"]["per_class"]["up"]


def test_features_that_tell_every_class_are_perfect(tmp_path):
    train, test = (part._replace(features=part.factors.half()) for part in (TRAIN, TEST))
    found = run(train, test)
    assert [row["value"] for row in found.values()] == pytest.approx([1, 1])
    assert [(row["low"], row["high"]) for row in found.values()] == [pytest.approx((1, 1))] * 2
    write(list(found.values()), tmp_path)  # refuses what is not finite
    assert "multilabel_voc_map" in (tmp_path / "results.csv").read_text()


def with_factor(part: FeatureStore, name: str, value: torch.Tensor) -> FeatureStore:
    return part._replace(factors=torch.cat([part.factors, value[:, None]], 1), factor_names=(*part.factor_names, name))


def test_other_factors_are_left_out_and_told_of(rows, caplog):
    extra = {
        "pose": (torch.arange(300) % 3, torch.arange(150) % 3),
        "unknown": (torch.full((300,), -1), torch.arange(150) % 2),
        "absent": (torch.arange(300) % 2, torch.zeros(150).long()),
        "rare": ((torch.arange(300) == 5).long(), torch.arange(150) % 2),
    }
    train, test = TRAIN, TEST
    for name, (known, unknown) in extra.items():
        train, test = with_factor(train, name, known), with_factor(test, name, unknown)
    with caplog.at_level(logging.WARNING):
        found = run(train, test)
    assert {m: row["per_class"] for m, row in found.items()} == {m: row["per_class"] for m, row in rows.items()}
    assert [record.message for record in caplog.records] == [
        "factor pose is left out: it has other values than 0 and 1",
        "factor unknown is left out: no training image has a label",
        "factor absent is left out: it is 0 in all test images",
        "factor rare is left out: too few images are 0 or too few are 1 to choose its penalty on a tenth of train",
    ]


def test_what_cannot_be_measured_is_refused_in_one_line():
    with pytest.raises(UserError, match="^the images have no factors: [^\n]* data.factors$"):
        run(clusters(30), clusters(30))
    three = [with_factor(clusters(30), "pose", torch.arange(30) % 3) for _ in range(2)]
    with pytest.raises(UserError, match=r"^no factor \(pose\) is 0 for some images and 1 for others[^\n]*$"):
        run(*three)
    rare = with_factor(clusters(30), "rare", (torch.arange(30) == 5).long())
    with pytest.raises(UserError, match="^no factor has images enough of 0 and 1 to choose its penalty[^\n]*$"):
        run(rare, rare)
    broken = TEST._replace(features=TEST.features.clone())
    broken.features[7] = torch.nan
    with pytest.raises(UserError, match="features of rows 7 are not finite"):
        run(test=broken)
