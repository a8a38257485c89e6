import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import samples
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from sslab.datamodules.reading.images import Stack
from sslab.datamodules.views.plain import Plain
from sslab.eval.evaluation import Evaluation
from sslab.eval.features.extract import Pixels, extract
from sslab.eval.features.store import FeatureStore
from sslab.eval.measures.geometry import uniformity, uniformity_optimum
from sslab.eval.measures.spectrum import rankme
from sslab.eval.neighbours.knn import knn
from sslab.eval.probes.linear import probe
from sslab.eval.protocols.base import Protocol
from sslab.eval.protocols.geometry import Geometry
from sslab.eval.protocols.knn import KNN
from sslab.eval.protocols.linear import Linear
from sslab.eval.protocols.linear_grid import LinearGrid
from sslab.eval.reports.results import Row, read, table, write
from sslab.heads.mlp import Projector
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Features
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.layers import Layered
from torch import Tensor, nn
from torch.nn.functional import normalize

CPU = torch.device("cpu")
VIEW = Plain(8, [0.5] * 3, [0.25] * 3)
images = partial(samples.images, size=8)
RANKS = ["rankme", "rankme_centred", "participation_ratio"]
LABEL_FREE = [*RANKS, "uniformity", "uniformity_gap", "feature_std_ratio"]
GEOMETRY = [*LABEL_FREE, "tolerance"]


class Flat(nn.Module):
    """Sixteen pixels as they are: not the baseline, so that nothing is left out."""

    def forward(self, image: Tensor) -> Features:
        return Pixels(4)(image)


def run(folder: Path, train: Stack, test: Stack | None, **settings: Any) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    backbones = {"trained": Flat(), "untrained": Backbone("resnet_tiny", 8), "pixels": Pixels()}
    protocols = {"knn": KNN(settings.pop("k", [5, 20])), "linear": Linear(), "geometry": Geometry()}
    evaluation = Evaluation(**{"protocols": protocols, **settings})
    return evaluation(backbones, train, test, VIEW, CPU, folder, {"commit": "abc"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, Any]]:
    return run(folder, images(200), images(60, seed=1), seed=3)


def pick(rows: list[dict[str, Any]], representation: str, metric: str, k: int | None = None) -> dict[str, Any]:
    (row,) = [r for r in rows if (r["representation"], r["metric"], r.get("k")) == (representation, metric, k)]
    return row


def test_file_holds_the_rows_and_nothing_else_is_left(rows, folder):
    assert json.loads((folder / "results.json").read_text()) == rows
    assert sorted(file.name for file in folder.iterdir()) == ["results.csv", "results.json", "scores.npz"]


def test_table_for_other_programs_has_a_column_for_every_plain_value(rows, folder):
    with (folder / "results.csv").open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(rows)
    for line, row in zip(found, rows, strict=True):
        assert float(line["value"]) == row["value"]
        assert line["k"] == str(row.get("k", ""))
        assert "per_class" not in line


def test_scores_by_image_give_the_value(rows, folder):
    saved, scores = read(folder)
    assert saved == rows
    with_scores = [n for n, row in enumerate(rows) if row["metric"].endswith("accuracy")]
    assert sorted(scores) == with_scores
    for n, (row, score) in scores.items():
        assert row.tolist() == list(range(60))
        assert score.mean().item() == pytest.approx(rows[n]["value"])


def test_every_representation_has_its_metrics(rows):
    supervised = ["knn_accuracy", "knn_accuracy", "linear_accuracy"]
    found = {name: [r["metric"] for r in rows if r["representation"] == name] for name in ("trained", "untrained")}
    deep = [*RANKS, "alpha_req", *GEOMETRY[len(RANKS) :]]  # what is trained here has no 100 dimensions
    assert found == {"trained": supervised + GEOMETRY, "untrained": supervised + deep}
    assert [r["metric"] for r in rows if r["representation"] == "pixels"] == supervised


def test_rows_stand_alone(rows):
    for row in rows:
        assert row["commit"] == "abc"
        assert (row["seed"], row["layer"], row["precision"]) == (3, "h", "32-true")
        assert row["seconds"] >= 0
        name, version = row["protocol"].split("@")
        assert (bool(name), version) == (True, "1")
    knn_row = pick(rows, "trained", "knn_accuracy", 5)
    assert (knn_row["T"], knn_row["n"], knn_row["protocol"]) == (0.07, 60, "knn@1")
    assert pick(rows, "trained", "linear_accuracy")["protocol"] == "linear-standardised-clean@1"


def test_values_are_those_of_the_parts(rows):
    train, test = (extract(Pixels(4), data, VIEW, CPU) for data in (images(200), images(60, seed=1)))
    hits = (knn(train, test, [20], [0.07])[20, 0.07] == test.label).double()
    found = pick(rows, "trained", "knn_accuracy", 20)
    assert found["value"] == hits.mean().item()
    assert found["standard_error"] == pytest.approx(hits.std(correction=0).item() / 60**0.5)
    assert found["per_class"] == {str(c): pytest.approx(hits[test.label == c].mean().item()) for c in range(3)}
    outcome = probe(train, test, seed=3)
    linear = pick(rows, "trained", "linear_accuracy")
    assert linear["value"] == (outcome.prediction == test.label).double().mean().item() > 0.9
    assert linear["learning_rate"] == outcome.learning_rate
    assert pick(rows, "trained", "rankme")["value"] == pytest.approx(rankme(train.features).item())
    spread = uniformity(normalize(train.features.float())).item()
    assert pick(rows, "trained", "uniformity")["value"] == pytest.approx(spread, rel=1e-4)
    gap = spread - uniformity_optimum(48)
    assert pick(rows, "trained", "uniformity_gap")["value"] == pytest.approx(gap, rel=1e-4)


def test_evaluated_twice_gives_identical_numbers(rows, tmp_path):
    def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert timeless(run(tmp_path, images(200), images(60, seed=1), seed=3)) == timeless(rows)


def test_prints_one_aligned_table(tmp_path, capsys):
    run(tmp_path, images(60), images(30, seed=1))
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["trained", "untrained", "pixels"]
    names = ["knn k=5", "knn k=20", "linear", *(name.replace("_", " ") for name in GEOMETRY)]
    assert [line[: line.index("  ")] for line in lines] == names
    assert len({len(line) for line in (head, *lines)}) == 1
    assert {line.split()[-1] for line in lines[3:]} == {"-"}


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        (-1, 0, "no training image has a label"),
        (2, 0, "all labelled training images are of class 2"),
        (None, -1, "there are no labelled images to test on"),
    ],
)
def test_without_usable_labels_only_label_free_metrics_remain(tmp_path, caplog, train, test, reason):
    parts = [images(40), images(20, seed=1)]
    for part, label in zip(parts, (train, test), strict=True):
        if label is not None:
            part.label = torch.full_like(part.label, label)
    rows = run(tmp_path, *parts)
    assert [r["metric"] for r in rows] == (LABEL_FREE if train == -1 else GEOMETRY) * 2
    assert f"knn is left out: {reason}" in caplog.text
    assert f"linear is left out: {reason}" in caplog.text


def test_without_a_test_set(tmp_path, caplog):
    rows = run(tmp_path, images(40), None)
    assert [r["metric"] for r in rows] == GEOMETRY * 2
    assert "there are no labelled images to test on" in caplog.text


def test_k_that_the_bank_does_not_fill_is_left_out_not_changed(tmp_path, caplog):
    train = images(40)
    train.label[:25] = -1
    rows = run(tmp_path, train, images(20, seed=1))
    assert {r["k"] for r in rows if "k" in r} == {5}
    assert [r.message for r in caplog.records if "kNN" in r.message] == [
        "kNN with k=20 is left out: only 15 training images have a label"
    ]


def test_k_too_large_altogether_leaves_the_other_metrics(tmp_path):
    rows = run(tmp_path, images(15), images(20, seed=1), k=[20])
    assert [r["metric"] for r in rows if r["representation"] == "trained"] == ["linear_accuracy", *GEOMETRY]


def test_classes_that_train_lacks_count_as_errors(tmp_path, caplog):
    train, test = images(60), images(30, seed=1)
    train.label[train.label == 2] = -1
    missing = int((test.label == 2).sum())
    rows = run(tmp_path, train, test)
    assert f"{missing} test images of classes without a training image (2) count as errors" in caplog.text
    assert pick(rows, "trained", "linear_accuracy")["n"] == 30
    assert pick(rows, "trained", "linear_accuracy")["value"] <= 1 - missing / 30


def test_unlabelled_test_images_are_not_counted(tmp_path):
    test = images(30, seed=1)
    test.label[:10] = -1
    assert pick(run(tmp_path, images(60), test), "pixels", "knn_accuracy", 5)["n"] == 20


def test_a_result_that_is_no_number_leaves_the_old_file(tmp_path):
    write([{"value": 1.0}], tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        write([{"value": float("nan")}], tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == [{"value": 1.0}]
    assert len(list(tmp_path.iterdir())) == 3


def test_table_of_two_metrics():
    rows = [
        {"representation": "trained", "metric": "knn_accuracy", "k": 20, "value": 0.5, "standard_error": 0.025},
        {"representation": "trained", "metric": "rankme", "value": 12.345},
        {"representation": "pixels", "metric": "knn_accuracy", "k": 20, "value": 1.0, "standard_error": 0.0},
    ]
    assert table(rows).splitlines() == [
        "               trained         pixels",
        "knn k=20  50.0 ± 2.5 %  100.0 ± 0.0 %",
        "rankme           12.35              -",
    ]


def test_settings_that_tell_rows_apart_are_in_their_titles():
    rows = [
        {"representation": "trained", "metric": "knn_accuracy", "k": 20, "T": 0.07, "layer": "h", "value": 0.5},
        {"representation": "trained", "metric": "knn_accuracy", "k": 20, "T": 0.1, "layer": "h", "value": 0.25},
        {"representation": "trained", "metric": "rankme", "layer": "z", "value": 2.0},
    ]
    lines = [" ".join(line.split()) for line in table(rows).splitlines()]
    assert lines == ["trained", "knn k=20 0.50", "knn k=20 T=0.1 0.25", "rankme z 2.00"]


def test_strict_evaluation_refuses_what_others_leave_out(tmp_path):
    data = images(40)
    data.label[:] = -1
    with pytest.raises(UserError, match="knn cannot be measured: no training image has a label"):
        run(tmp_path, data, images(20, seed=1), strict=True)
    assert not list(tmp_path.iterdir())


def test_every_protocol_sees_the_layers_that_it_asks_for(tmp_path):
    class Sizes(Protocol):
        def __init__(self, layers: tuple[str, ...] | None) -> None:
            self.layers = layers  # pyright: ignore[reportAttributeAccessIssue]

        def __call__(self, train: FeatureStore, test: FeatureStore, seed: int) -> Iterator[Row]:
            for layer in train.layers:
                yield {"metric": "dim", "layer": layer, "value": test.at(layer).features.shape[1] * 1.0}

    torch.manual_seed(0)
    backbone = Backbone("resnet_tiny", 8)
    protocols = {"some": Sizes(("h", "z")), "all": Sizes(None)}
    backbones = {"trained": Layered(backbone, Projector(128, 16, 6)), "pixels": Pixels(4)}
    rows = Evaluation(protocols)(backbones, images(20), images(9, seed=1), VIEW, CPU, tmp_path, {})
    found = [(row["representation"], row["layer"], row["value"]) for row in rows]
    trained = [("trained", "h", 128), ("trained", "z", 6), ("trained", "h", 128), ("trained", "pool_2", 192)]
    assert found == [*trained, ("pixels", "h", 48), ("pixels", "h", 48)]


@pytest.mark.parametrize(
    ("protocol", "lacks"),
    [
        (KNN(k=[5], layers=["h", "cls_4"]), "cls_4: there are h$"),
        (KNN(k=[5], layers=["z"]), "z: there are h$"),
        (LinearGrid(layers=["h", "pool_2"]), "pool_2: there are h$"),
    ],
)
def test_a_layer_that_is_not_there_is_refused_or_left_out_with_a_warning(tmp_path, caplog, protocol, lacks):
    given = {"trained": Flat()}, images(20), images(9, seed=1), VIEW, CPU, tmp_path / "results", {}
    with pytest.raises(UserError, match=f"it cannot be measured: the backbone has no layer {lacks}"):
        Evaluation({"it": protocol}, strict=True)(*given)
    assert not list(tmp_path.iterdir())
    rows = Evaluation({"it": protocol, "geometry": Geometry()})(*given)
    assert rows
    assert not any("accuracy" in row["metric"] for row in rows)
    assert "it is left out: the backbone has no layer" in caplog.text


def test_a_grid_reads_the_output_of_a_head_if_asked(tmp_path):
    backbones = {"trained": Layered(Backbone("resnet_tiny", 8), Projector(128, 16, 6)), "pixels": Pixels(4)}
    data = images(40), images(20, seed=1)
    rows = Evaluation({"grid": LinearGrid(layers=["z"])})(backbones, *data, VIEW, CPU, tmp_path, {})
    assert {(row["representation"], row["layer"]) for row in rows} == {("trained", "z")}


def test_features_on_disk_give_the_same_numbers(tmp_path, rows):
    kept = run(tmp_path, images(200), images(60, seed=1), seed=3, features=str(tmp_path / "features"))
    drop = {"seconds", "backbone"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in kept] == [
        {k: v for k, v in row.items() if k not in drop} for row in rows
    ]


@pytest.mark.parametrize("name", ["default", "factors"])
def test_configs(name):
    with initialize_config_module("sslab.conf", version_base="1.3"):
        built = instantiate(compose("config", [f"eval={name}", "seed=7"]).eval, _convert_="all")
    assert (built.seed, built.batch_size, built.precision) == (7, 512, "32-true")
    parts = getattr(built.protocols.get("factors"), "protocols", built.protocols)
    assert parts["knn"].temperature == KNN().temperature
