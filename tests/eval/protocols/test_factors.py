import pytest
import torch
from samples import clusters
from sslab.eval.features.store import FeatureStore
from sslab.eval.neighbours.knn import knn
from sslab.eval.probes.linear import probe
from sslab.eval.protocols.factors import Factors
from sslab.eval.protocols.knn import KNN
from sslab.eval.protocols.linear import Linear
from sslab.eval.reports.results import table
from sslab.ssl.core.errors import UserError

PROTOCOL = Factors({"knn": KNN([5]), "linear": Linear()})


def factored(n: int, seed: int = 0, **changes: int) -> FeatureStore:
    """Seen: tells the cluster; blind: tells nothing; the others are for what is left out."""
    store = clusters(n, seed)
    draw = torch.Generator().manual_seed(seed)
    columns = {
        "seen": store.label.clamp(max=1),
        "blind": torch.randint(4, (n,), generator=draw),
        "constant": torch.full((n,), 2),
        "unlabelled": torch.full((n,), -1),
    }
    columns |= {name: torch.full((n,), value) for name, value in changes.items()}
    return store._replace(factors=torch.stack(list(columns.values()), 1), factor_names=tuple(columns))


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return list(PROTOCOL(factored(300), factored(120, seed=1), 0))


def test_every_measurable_factor_has_every_metric(rows):
    assert [(row["factor"], row["metric"]) for row in rows] == [
        (factor, metric) for factor in ("class", "seen", "blind") for metric in ("knn_accuracy", "linear_accuracy")
    ]


def test_values_are_those_of_the_parts_with_the_factor_for_a_label(rows):
    train, test = (store._replace(label=store.factors[:, 0]) for store in (factored(300), factored(120, seed=1)))
    found = {row["metric"]: row["value"] for row in rows if row["factor"] == "seen"}
    predictions = {
        "knn_accuracy": knn(train, test, [5], [0.07])[5, 0.07],
        "linear_accuracy": probe(train, test, 0).prediction,
    }
    assert found == {name: (p == test.label).double().mean().item() for name, p in predictions.items()}
    assert min(found.values()) > 0.9


def test_what_features_do_not_tell_is_at_chance(rows):
    label = factored(120, seed=1).factors[:, 1]
    for row in rows:
        if row["factor"] == "blind":
            assert row["chance"] == max((label == value).double().mean().item() for value in range(4))
            assert row["value"] == pytest.approx(row["chance"], abs=0.13)


def test_unlabelled_images_count_for_their_factor_alone():
    test = factored(120, seed=1)
    test.factors[:50, 0] = -1
    sizes = {row["factor"]: row["n"] for row in Factors({"knn": KNN([5])})(factored(300), test, 0)}
    assert sizes == {"class": 120, "seen": 70, "blind": 120}


def test_what_is_left_out_is_told(caplog):
    PROTOCOL.check(factored(300), factored(120, unlabelled=1))
    assert [record.message for record in caplog.records] == [
        "factor constant is left out: all labelled training images are of class 2",
        "factor unlabelled is left out: no training image has a label",
    ]


def test_without_labels_factors_alone_are_measured(caplog):
    train, test = (s._replace(label=torch.full_like(s.label, -1)) for s in (factored(300), factored(120, seed=1)))
    protocol = Factors({"knn": KNN([5])})
    protocol.check(train, test)
    assert "factor class is left out: no training image has a label" in caplog.messages
    assert [row["factor"] for row in protocol(train, test, 0)] == ["seen", "blind"]
    nothing = [s._replace(factors=s.factors[:, 2:], factor_names=s.factor_names[2:]) for s in (train, test)]
    with pytest.raises(UserError, match="^neither the class nor a factor of the images can be measured"):
        protocol.check(*nothing)


def test_images_without_factors_are_refused():
    with pytest.raises(UserError, match="the images have no factors: choose data that has"):
        PROTOCOL.check(clusters(30), clusters(30))


def test_the_table_keeps_factors_together(rows):
    both = [{**row, "representation": name} for name in ("trained", "pixels") for row in rows if row["n"] == 120]
    lines = table(both).splitlines()
    assert lines[0].split() == ["trained", "pixels"]
    assert [line.split("  ")[0] for line in lines[1:]] == [
        f"{factor} (chance {chance:.1%}), {metric}"
        for factor, chance in dict.fromkeys((row["factor"], row["chance"]) for row in rows)
        for metric in ("knn k=5", "linear")
    ]
