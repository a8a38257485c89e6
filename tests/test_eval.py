"""`python -m sslab.eval` as its users call it."""

import csv
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

DATA = ("data=shapes", "data.source.train=300", "data.source.test=100")


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / "results.json").read_text())


def values(folder: Path) -> dict[tuple, float]:
    return {(r["representation"], r["metric"], r.get("k"), r["layer"]): r["value"] for r in rows(folder)}


def test_a_run_evaluated_again_gives_the_numbers_of_its_end(evaluate, run):
    result = evaluate(f"checkpoint={run}", "baselines=[untrained,pixels]")
    assert result.code == 0, result.err
    assert "knn k=20" in result.out
    found, before = values(run / "eval" / "shapes-default"), values(run)
    assert found == before
    assert {name for name, *_ in found} == {"trained", "untrained", "pixels"}


def test_results_stand_alone(evaluate, run):
    assert evaluate(f"checkpoint={run}", "protocol=knn").code == 0
    for row in rows(run / "eval" / "shapes-knn"):
        assert row["checkpoint"] == str(run)
        assert (row["data"], row["seed"], row["layer"], row["n"]) == ("shapes", 0, "h", 200)
        assert row["low"] <= row["value"] <= row["high"]
        assert len(row["commit"]) == 40
        assert row["protocol"] == "knn@1"
        assert row["seconds"] > 0
    with (run / "eval" / "shapes-knn" / "results.csv").open() as file:
        assert [line["k"] for line in csv.DictReader(file)] == ["20", "200"]


def test_features_are_extracted_once(evaluate, run):
    assert evaluate(f"checkpoint={run}", "protocol=knn").code == 0
    before = {file: file.stat().st_mtime_ns for file in evaluate.folder.rglob("features.f16")}
    assert len(before) == 2
    assert evaluate(f"checkpoint={run}", "protocol=[knn,linear]").code == 0
    assert {file: file.stat().st_mtime_ns for file in evaluate.folder.rglob("features.f16")} == before
    assert rows(run / "eval" / "shapes-knn-linear")


@pytest.mark.parametrize("file", ["checkpoints/last.ckpt", "backbone.safetensors"])
def test_files_of_a_run_are_the_run(evaluate, run, file):
    assert evaluate(f"checkpoint={run / file}", "protocol=knn", "out=here").code == 0
    assert evaluate(f"checkpoint={run}", "protocol=knn").code == 0
    assert values(evaluate.folder / "here") == values(run / "eval" / "shapes-knn")


def test_an_exported_file_is_enough_elsewhere(evaluate, run):
    (evaluate.folder / "mine.safetensors").write_bytes((run / "backbone.safetensors").read_bytes())
    assert evaluate("checkpoint=mine.safetensors", *DATA, "protocol=knn").code == 0
    assert rows(evaluate.folder / "evals" / "mine.safetensors" / "shapes-knn")


def test_a_model_of_timm(evaluate):
    torch.manual_seed(0)
    weights = timm.create_model("resnet18", num_classes=5).state_dict()
    save_file(weights, evaluate.folder / "published.safetensors")
    arguments = ("checkpoint=timm:resnet18", *DATA, "protocol=knn", "view.size=32", "protocols.knn.k=[5]")
    assert evaluate(*arguments, "weights=published.safetensors").code == 0
    assert rows(evaluate.folder / "evals" / "timm_resnet18" / "shapes-knn")[0]["n"] == 100
    about = [json.loads(file.read_text()) for file in evaluate.folder.glob("features/*/about.json")]
    published = "mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], count=1, crop=0.95, interpolation='bicubic'"
    assert {a["view"] for a in about} == {f"Plain(size=32, {published})"}


def test_sweeps_over_checkpoints_and_protocols(evaluate, run):
    best = run / "checkpoints" / "last.ckpt"
    result = evaluate("-m", f"checkpoint={run},{best}", "protocol=knn,linear", *DATA, "protocols.knn.k=[5]")
    assert result.code != 0  # protocols.knn is nothing to set for protocol=linear
    assert evaluate("-m", f"checkpoint={run},{best}", "protocol=knn,linear").code == 0
    assert {folder.name for folder in (run / "eval").iterdir()} >= {"shapes-knn", "shapes-linear"}


def test_without_labels_default_measures_the_rest_and_a_protocol_by_name_is_refused(evaluate, run):
    for i in range(30):
        Image.effect_noise((32, 32), 50 + i).convert("RGB").save(evaluate.folder / f"{i}.png")
    folder = ("data=folder", f"data.root={evaluate.folder}", "data.labels=none")
    unlabelled = (f"checkpoint={run}", *folder, "features=null")
    assert "knn cannot be measured: no training image has a label" in evaluate.refuse(*unlabelled, "protocol=knn")
    result = evaluate(*unlabelled, "out=here")
    assert result.code == 0, result.err
    assert "knn is left out: no training image has a label" in result.err
    assert {row["protocol"] for row in rows(evaluate.folder / "here")} >= {"rankme@1", "uniformity@1"}


def test_representations_are_compared_with_themselves_and_with_others(evaluate, run):
    def alike(*arguments: str) -> dict[tuple[str, str], float]:
        cka = ("protocol=cka", "protocols.cka.rows=200", "out=alike", "protocols.cka.other_layers=[h,pool_2]")
        result = evaluate(f"checkpoint={run}", *cka, *arguments)
        assert result.code == 0, result.err
        assert "cka debiased h:pool_2" in result.out
        return {(row["metric"], row["other_layer"]): row["value"] for row in rows(evaluate.folder / "alike")}

    itself = alike(f"protocols.cka.other.place={run}")
    assert itself["cka", "h"] == pytest.approx(1)
    assert itself["cka_debiased", "h"] == pytest.approx(1)
    other = "protocols.cka.other.place=timm:resnet18"
    at_random = alike(other, "protocols.cka.other.weights=random", "protocols.cka.other.view.size=32")
    assert at_random["cka_debiased", "h"] < itself["cka_debiased", "pool_2"] < 1


def test_images_of_several_classes_and_without_labels(evaluate, run):
    """A table that lists the classes of each image: bright, if it is, and red, if it is."""
    noise = np.random.default_rng(0)
    for part, count in (("train", 80), ("test", 40)):
        bright, red = noise.integers(0, 2, (2, count))
        pixels = noise.integers(0, 90, (count, 32, 32, 3)) + 100 * bright[:, None, None, None]
        pixels[..., 0] += 60 * red[:, None, None]
        tags = [["bright"] * b + ["red"] * r for b, r in zip(bright, red, strict=True)]
        table = pa.table({"image": [png(p) for p in pixels.astype(np.uint8)], "tags": tags, "night": 1 - bright})
        pq.write_table(table, evaluate.folder / f"{part}.parquet")
    table = ("data=parquet", "data.train=train.parquet", "data.test=test.parquet", "data.factors=[tags,night]")
    quick = ("protocols.factors.protocols.knn.k=[5]", "~protocols.factors.protocols.linear", "features=null")
    result = evaluate(f"checkpoint={run}", *table, "protocol=[multilabel,factors]", *quick, "out=here")
    assert result.code == 0, result.err
    assert "factor class is left out: no training image has a label" in result.err
    found = {(row["metric"], row.get("factor")): row for row in rows(evaluate.folder / "here")}
    assert found["multilabel_voc_map", None]["per_class"].keys() == {"bright", "red", "night"}
    assert found["multilabel_map", None]["per_class"]["bright"] > 0.9
    assert found["knn_accuracy", "night"]["value"] > 0.9 > 0.7 > found["knn_accuracy", "night"]["chance"]
    assert "data.factors=tag is no column" in evaluate.refuse(f"checkpoint={run}", *table[:-1], "data.factors=[tag]")


def png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_compare(evaluate, run):
    for seed in (0, 1):
        assert evaluate(f"checkpoint={run}", "protocol=linear", f"seed={seed}", f"out=seed{seed}").code == 0
    result = evaluate("compare", "seed0", "seed1")
    assert result.code == 0
    assert "trained, linear" in result.out
    assert evaluate("compare", "seed0").code == 2


def test_the_data_of_the_run_with_other_settings(evaluate, run):
    assert evaluate(f"checkpoint={run}", "protocol=linear", "+data.source.test=70", "out=fewer").code == 0
    assert {row["n"] for row in rows(evaluate.folder / "fewer")} == {70}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "checkpoint has no value"),
        (("checkpoint=nowhere",), "checkpoint=nowhere does not exist"),
        (("checkpoint=.",), "no run folder"),
        (("checkpoint=timm:resnet1", "weights=random", *DATA), "near: "),
        (("checkpoint=timm:resnet18", "weights=random"), "set data=<a choice>"),
        (("checkpoint=timm:resnet18", "weights=none.safetensors", *DATA), "none.safetensors does not exist"),
        (("checkpoint=RUN", "weights=random"), "weights=random are for a model of timm"),
        (("checkpoint=RUN", "baselines=[nothing]"), "there are untrained and pixels"),
        (("checkpoint=RUN", "protocol=none"), "protocol=none is no choice"),
        (("checkpoint=RUN", "protocol=knn", "protocols.knn.neighbours=5"), "neighbours"),
        (("checkpoint=RUN", "protocol=knn", "protocols.knn.k=[1000000]"), "k"),
        (("checkpoint=RUN", "protocol=logreg", "protocols.logreg.penalties=[]"), "expected numbers above 0"),
        (("checkpoint=RUN", "protocol=knn", "protocols.knn.k=[]"), "k=[]: expected 1 or more"),
        (("checkpoint=RUN", "protocol=knn", "protocols.knn.temperature=[0.0]"), "expected numbers above 0"),
        (("checkpoint=RUN", "protocol=knn", "protocols.knn.layers=[]"), "layers=[] names none"),
        (("checkpoint=RUN", "protocol=linear_grid", "protocols.linear_grid.layers=[h,q]"), "has no layer q"),
        (("checkpoint=RUN", "protocol=cluster", "protocols.cluster.restarts=0"), "restarts=0: expected 1 or more"),
        (("checkpoint=RUN", "protocol=geometry", "protocols.geometry.pair_rows=1"), "pair_rows=1: expected 2 or more"),
        (("checkpoint=RUN", "protocol=calibration", "protocols.calibration.bins=0"), "bins=0: expected 1 or more"),
        (
            ("checkpoint=RUN", "protocol=multilabel", "protocols.multilabel.penalties=[1.0,0.0]"),
            "expected numbers above 0",
        ),
        (("checkpoint=RUN/metrics.csv",), "is no checkpoint"),
        (("checkpoint=RUN", "protocol=instances"), "protocols.instances.table has no value"),
        (("checkpoint=RUN", "protocol=instances", "protocols.instances.table=none.csv"), "none.csv is no CSV file"),
        (("checkpoint=RUN", "protocol=cka"), "protocols.cka.other.place has no value"),
        (("checkpoint=RUN", "protocol=cka", "protocols.cka.other.place=nowhere"), "nowhere does not exist"),
    ],
)
def test_refusals(evaluate, run, arguments, message):
    line = evaluate.refuse(*(argument.replace("RUN", str(run)) for argument in arguments))
    assert message in line
