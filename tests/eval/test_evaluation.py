import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import samples
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sslab.datamodules.images import Stack
from sslab.datamodules.views.plain import Plain
from sslab.eval.evaluation import Evaluation
from sslab.eval.extract import Pixels, extract
from sslab.eval.geometry import uniformity, uniformity_optimum
from sslab.eval.knn import knn
from sslab.eval.linear import probe
from sslab.eval.protocols.geometry import Geometry
from sslab.eval.protocols.knn import KNN
from sslab.eval.protocols.linear import Linear
from sslab.eval.results import table, write
from sslab.eval.spectrum import rankme
from sslab.ssl.backbones import Backbone
from torch.nn.functional import normalize

CPU = torch.device("cpu")
VIEW = Plain(8, [0.5] * 3, [0.25] * 3)
images = partial(samples.images, size=8)
LABEL_FREE = ["rankme", "rankme_centred", "uniformity", "uniformity_gap"]


def run(folder: Path, train: Stack, test: Stack | None, **settings: Any) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    backbones = {"trained": Pixels(4), "untrained": Backbone("resnet_tiny", 8)}
    protocols = {"knn": KNN(settings.pop("k", [5, 20])), "linear": Linear(), "geometry": Geometry()}
    evaluation = Evaluation(**{"protocols": protocols, **settings})
    return evaluation(backbones, train, test, VIEW, CPU, folder, {"commit": "abc", "seed": 1})


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
    assert [file.name for file in folder.iterdir()] == ["results.json"]


def test_every_representation_has_its_metrics(rows):
    supervised = ["knn_accuracy", "knn_accuracy", "linear_accuracy"]
    found = {name: [r["metric"] for r in rows if r["representation"] == name] for name in ("trained", "untrained")}
    assert found == {name: supervised + LABEL_FREE for name in found}
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
    spread = uniformity(normalize(train.features)).item()
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
    assert " ".join(head.split()) == "knn k=5 knn k=20 linear rankme rankme centred uniformity uniformity gap"
    assert [line.split()[0] for line in lines] == ["trained", "untrained", "pixels"]
    assert len({len(line) for line in (head, *lines)}) == 1
    assert lines[2].split()[-4:] == ["-"] * 4


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
    assert [r["metric"] for r in rows] == LABEL_FREE * 2
    assert f"knn is left out: {reason}" in caplog.text
    assert f"linear is left out: {reason}" in caplog.text


def test_without_a_test_set(tmp_path, caplog):
    rows = run(tmp_path, images(40), None)
    assert [r["metric"] for r in rows] == LABEL_FREE * 2
    assert "there are no labelled images to test on" in caplog.text


def test_k_that_the_bank_does_not_fill_is_left_out_not_changed(tmp_path, caplog):
    train = images(40)
    train.label[:25] = -1
    rows = run(tmp_path, train, images(20, seed=1))
    assert {r["k"] for r in rows if "k" in r} == {5}
    assert [r.message for r in caplog.records if "left out" in r.message] == [
        "kNN with k=20 is left out: only 15 training images have a label"
    ]


def test_k_too_large_altogether_leaves_the_other_metrics(tmp_path):
    rows = run(tmp_path, images(15), images(20, seed=1), k=[20])
    assert [r["metric"] for r in rows if r["representation"] == "trained"] == ["linear_accuracy", *LABEL_FREE]


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
    file = tmp_path / "results.json"
    write([{"value": 1.0}], file)
    with pytest.raises(ValueError, match="JSON"):
        write([{"value": float("nan")}], file)
    assert json.loads(file.read_text()) == [{"value": 1.0}]
    assert list(tmp_path.iterdir()) == [file]


def test_table_of_two_metrics():
    rows = [
        {"representation": "trained", "metric": "knn_accuracy", "k": 20, "value": 0.5, "standard_error": 0.025},
        {"representation": "trained", "metric": "rankme", "value": 12.345},
        {"representation": "pixels", "metric": "knn_accuracy", "k": 20, "value": 1.0, "standard_error": 0.0},
    ]
    assert table(rows).splitlines() == [
        "              knn k=20  rankme",
        "trained   50.0 ± 2.5 %   12.35",
        "pixels   100.0 ± 0.0 %       -",
    ]


@pytest.mark.parametrize("name", ["default", "factors"])
def test_configs(name):
    choice = OmegaConf.load(Path(__file__).parents[2] / "conf" / "eval" / f"{name}.yaml")
    built = instantiate(OmegaConf.create({"seed": 7, "eval": choice}).eval, _convert_="all")
    assert (built.seed, built.batch_size, built.precision) == (7, 512, "32-true")
    parts = getattr(built.protocols.get("factors"), "protocols", built.protocols)
    assert parts["knn"].temperature == KNN().temperature
