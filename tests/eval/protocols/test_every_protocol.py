"""What holds for each protocol on cached features."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from samples import clusters, store
from sslab.eval.features.store import FeatureStore
from sslab.eval.probes.linear import RECIPE
from sslab.eval.probes.linear_grid import GRID
from sslab.eval.protocols.base import Protocol
from sslab.ssl.core.errors import UserError
from torch.nn.functional import one_hot

CONF = Path(__file__).parents[3] / "conf" / "protocol"
SMALL: dict[str, dict[str, Any]] = {
    "knn": {"k": [3, 20], "temperature": [0.07, 0.5]},
    "linear": {},
    "linear_grid": {},
    "logreg": {"penalties": [100.0, 1.0]},
    "fewshot": {"n_per_class": [1, 4], "tries": 3},
    "episodes": {"ways": 3, "shots": [1, 5], "episodes": 20},
    "cluster": {"per_class": [1, 3], "restarts": 3},
    "retrieval": {"ks": [1, 5]},
    "calibration": {},
    "geometry": {},
}
CHOOSING = {"linear", "linear_grid", "logreg"}
LABEL_FREE = {"geometry"}
NO_PART_OF_TRAIN = {"episodes", "cluster", "retrieval"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("linear", "calibration"):
        monkeypatch.setattr(f"sslab.eval.protocols.{module}.RECIPE", RECIPE._replace(epochs=1, least_steps=60))
    monkeypatch.setattr("sslab.eval.protocols.linear_grid.GRID", GRID._replace(epochs=1, least_steps=60))


def build(name: str, **changes: Any) -> Protocol:
    return instantiate(OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), SMALL[name], changes), _convert_="all")


def half(store: FeatureStore) -> FeatureStore:
    return store._replace(features=store.features.half())


TRAIN, TEST = half(clusters(240, spread=2)), half(clusters(120, seed=1, spread=2)._replace(row=torch.arange(120) + 7))


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {k: [t.tolist() for t in v] if k == "scores" else v for k, v in row.items() if k != "seconds"} for row in rows
    ]


def run(name: str, train: FeatureStore = TRAIN, test: FeatureStore = TEST, **changes: Any) -> list[dict[str, Any]]:
    protocol = build(name, **changes)
    protocol.check(train, test)
    return list(protocol(train, test, 3))


every = pytest.mark.parametrize("name", SMALL)


@every
def test_rows_tell_what_they_are_the_same_each_time(name):
    before = torch.get_rng_state()
    rows = run(name)
    assert torch.get_rng_state().equal(before)
    names = [(row["metric"], row.get("k"), row.get("T"), row.get("layer")) for row in rows]
    assert len(set(names)) == len(names) > 0
    for row in rows:
        assert row["protocol"].endswith("@1")
        assert row["seconds"] >= 0
        assert isinstance(row["value"], float)
        assert 0 < row["n"] <= 240
        if name not in LABEL_FREE | {"calibration"} and row["metric"].split("_of_")[0] not in ("nmi", "ami", "ari"):
            assert row["low"] <= row["value"] <= row["high"]
            where, score = row["scores"]
            assert score.double().mean().item() == pytest.approx(row["value"], abs=1e-6)
            assert torch.isin(where, TEST.row).all() or name == "episodes"
    single = [part._replace(features=part.features.float()) for part in (TRAIN, TEST)]
    again = timeless(run(name, *single))
    for one, other in zip(timeless(rows), again, strict=True):
        assert one == pytest.approx(other) if name == "geometry" else one == other


@every
def test_features_that_tell_the_class_are_perfect(name):
    train, test = (half(s._replace(features=one_hot(s.label, 3).float())) for s in (TRAIN, TEST))
    for row in run(name, train, test):
        if name == "geometry":
            continue
        if row["metric"].startswith("calibration"):  # all rates are right, so the lowest is chosen
            assert row["value"] < 0.03 or row["metric"] == "calibration_error"
        elif row["metric"] in ("nmi_of_9", "ami_of_9", "ari_of_9", "cluster_accuracy_of_9"):
            assert row["value"] > 0.3
        else:
            assert row["value"] == pytest.approx(1)


@every
def test_random_labels_are_chance(name):
    if name in LABEL_FREE:
        return
    draw = torch.Generator().manual_seed(0)
    train, test = (s._replace(label=torch.randint(3, (len(s.row),), generator=draw)) for s in (TRAIN, TEST))
    for row in run(name, train, test):
        if row["metric"] in ("ami", "ari", "ami_of_9", "ari_of_9"):
            assert row["value"] == pytest.approx(0, abs=0.05)
        elif row["metric"].endswith("accuracy"):
            assert row["value"] == pytest.approx(1 / 3, abs=0.12)


@every
def test_broken_features_are_named(name):
    features = TEST.features.clone()
    features[[3, 50]] = torch.nan
    broken = TEST._replace(features=features)
    with pytest.raises(UserError, match="features of rows 10, 57 are not finite"):
        run(name, broken, broken)


@every
def test_labels_that_allow_nothing_are_refused_in_one_line(name):
    protocol = build(name)
    if name in LABEL_FREE:
        protocol.check(TRAIN._replace(label=torch.full((240,), -1)), TEST)
        return
    none, same = TEST._replace(label=torch.full((120,), -1)), TEST._replace(label=torch.full((120,), 2))
    with pytest.raises(UserError, match="there are no labelled images to test on"):
        protocol.check(TRAIN, none)
    reason = "all labelled test images are" if name in NO_PART_OF_TRAIN else "all labelled training images are"
    with pytest.raises(UserError, match=f"{reason} of class 2"):
        protocol.check(same, same)


@pytest.mark.parametrize("name", sorted(CHOOSING))
def test_clean_choices_know_nothing_of_test(name):
    other = TEST.take(torch.randperm(120, generator=torch.Generator().manual_seed(0)))._replace(label=TEST.label)
    choice = [
        [{k: v for k, v in row.items() if k.startswith(("learning_rate", "penalty", "held_out"))} for row in rows]
        for rows in (run(name), run(name, test=other))
    ]
    assert choice[0] == choice[1] != [{}]


@pytest.mark.parametrize("name", sorted(CHOOSING))
def test_published_choices_are_the_best_on_test_under_another_name(name):
    """Every candidate alone is no better."""
    option = "penalties" if name == "logreg" else None
    (best, *_), (clean, *_) = run(name, variant="published"), run(name)
    assert best["protocol"] == clean["protocol"].replace("clean", "published") != clean["protocol"]
    assert not [k for k in best if k.startswith("held_out")]
    assert best["value"] >= clean["value"]
    if option:
        alone = [run(name, penalties=[p])[0]["value"] for p in SMALL["logreg"]["penalties"]]
        assert best["value"] == max(alone)


@pytest.mark.parametrize("name", sorted(CHOOSING))
@pytest.mark.parametrize("metric", ["mean_per_class", "voc_map"])
def test_other_metrics_are_chosen_for_and_told(name, metric):
    draw = torch.rand(240, generator=torch.Generator().manual_seed(0))
    rare = TRAIN.take((TRAIN.label > 0) | (draw < 0.3))
    for row in run(name, rare, TEST, metric=metric):
        assert row["metric"].endswith(metric)
        assert 0.4 < row["value"] < 1
        assert f"held_out_{metric}" in row
        if metric == "mean_per_class":
            shares = list(row["per_class"].values())
            assert row["value"] == pytest.approx(sum(shares) / 3)
            error = sum(p * (1 - p) / n for p, n in zip(shares, TEST.label.bincount().tolist(), strict=True)) ** 0.5 / 3
            assert row["standard_error"] == pytest.approx(error, rel=0.1)
            assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


@pytest.mark.parametrize("name", [n for n in SMALL if n != "linear_grid"])
def test_layers_are_a_setting_of_each(name):
    assert list(build(name, layers=["z"]).layers or ()) == ["z"]


def test_classes_need_no_fixed_numbers_and_unlabelled_images_no_part():
    label = torch.tensor([2, 5, 9])
    train, test = (s._replace(label=label[s.label]) for s in (TRAIN, TEST))
    junk = store(torch.full((30, 8), 100.0).half(), torch.full((30,), -1))
    more = test._replace(
        **{f: torch.cat([getattr(s, f) for s in (test, junk)]) for f in ("features", "label", "factors", "row")}
    )
    for name in ("fewshot", "cluster", "retrieval", "calibration", "episodes", "knn"):
        expected = timeless(run(name, train, test))
        assert timeless(run(name, train, more)) == expected
        if name != "calibration":  # where confidence is shared with the classes in between
            assert [row["value"] for row in expected] == pytest.approx([row["value"] for row in run(name)])
