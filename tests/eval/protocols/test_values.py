"""Values of protocols beside direct computation, and what each of them refuses."""

import pytest
import torch
from samples import clusters, store
from sslab.eval.measures.bootstrap import interval
from sslab.eval.measures.calibration import expected_calibration_error, temperature
from sslab.eval.measures.clustering import agreement
from sslab.eval.measures.spectrum import alpha_req, covariance_spectrum, participation_ratio
from sslab.eval.neighbours.kmeans import spherical_kmeans
from sslab.eval.probes.held_out import held_out
from sslab.eval.probes.label_subsets import number_of_each
from sslab.eval.probes.linear import RECIPE
from sslab.eval.probes.nearest_mean import nearest_mean
from sslab.eval.probes.sgd_heads import fit
from sslab.eval.protocols.calibration import Calibration
from sslab.eval.protocols.cluster import Cluster
from sslab.eval.protocols.episodes import Episodes
from sslab.eval.protocols.fewshot import FewShot
from sslab.eval.protocols.geometry import Geometry
from sslab.eval.protocols.linear_grid import LinearGrid
from sslab.eval.protocols.retrieval import Retrieval
from sslab.ssl.core.draws import mix
from sslab.ssl.core.errors import UserError
from torch.nn.functional import cosine_similarity, normalize

TRAIN, TEST = clusters(200, spread=2), clusters(90, seed=1, spread=2)


def test_clusters_agree_as_the_parts_say():
    rows = {row["metric"]: row["value"] for row in Cluster(restarts=3)(TRAIN, TEST, 0)}
    assert rows == pytest.approx(agreement(spherical_kmeans(TEST.features, 3, mix(0), 50, 3), TEST.label))
    many = {row["metric"]: row for row in Cluster([3], restarts=3)(TRAIN, TEST, 0)}
    assert many["purity_of_9"]["value"] >= rows["purity"] > many["cluster_accuracy_of_9"]["value"]
    assert many["ari_of_9"]["clusters"] == 9


def test_retrieval_from_train_by_hand():
    cosine = cosine_similarity(TEST.features[:, None], TRAIN.features[None], dim=2)
    nearest = TRAIN.label[cosine.argmax(1)]
    rows = {row["metric"]: row for row in Retrieval("train", [1])(TRAIN, TEST, 0)}
    hit = (nearest == TEST.label).double()
    found = rows["retrieval_recall_at_1"]
    assert (found["value"], found["low"], found["high"]) == interval(hit, 0)
    assert (found["gallery"], found["n"], found["protocol"]) == (200, 90, "retrieval-train@1")
    few = {row["metric"]: row for row in Retrieval("train", [1], queries=30)(TRAIN, TEST, 0)}
    where, score = few["retrieval_recall_at_1"]["scores"]
    assert score.tolist() == hit[where].tolist()
    assert len(where) == 30


def test_the_temperature_is_that_of_the_held_out_tenth():
    held, rest = held_out(200, 0)
    raw, scaled = Calibration()(TRAIN, TEST, 0)
    alone = RECIPE._replace(learning_rates=(raw["learning_rate"],))
    head = fit(TRAIN.features, TRAIN.label, 3, 0, alone, rest)
    t = temperature(head.scores(TRAIN.features[held]), TRAIN.label[held])
    logits = head.scores(TEST.features)
    assert raw["temperature"] == pytest.approx(t, rel=1e-3)
    assert raw["value"] == pytest.approx(expected_calibration_error(logits, TEST.label).item(), abs=1e-4)
    assert scaled["value"] == pytest.approx(expected_calibration_error(logits / t, TEST.label).item(), abs=1e-3)


@pytest.mark.parametrize("classifier", ["knn", "prototype", "logreg"])
def test_few_shots_are_a_mean_over_draws(classifier):
    (row,) = FewShot([4], 3, classifier)(TRAIN, TEST, 7)
    assert (row["metric"], row["protocol"], row["tries"]) == ("fewshot_4_accuracy", f"fewshot-{classifier}@1", 3)
    assert 1 / 3 < row["value"] < 1
    if classifier == "prototype":
        x, queries = normalize(TRAIN.features), normalize(TEST.features)
        drawn = [number_of_each(TRAIN.label, TRAIN.row, 4, 7, draw) for draw in range(3)]
        answers = torch.stack([nearest_mean(x[rows], TRAIN.label[rows], queries) for rows in drawn])
        share = (answers == TEST.label).double().mean(1)
        assert row["value"] == pytest.approx(share.mean().item())
        assert row["high"] - row["value"] == pytest.approx(1.96 * share.std().item() / 3**0.5)


def test_geometry_is_that_of_the_parts():
    z = store(torch.randn(400, 120, generator=torch.Generator().manual_seed(0)), torch.arange(400) % 3)
    rows = {row["metric"]: row for row in Geometry()(z, z, 0)}
    spectrum = covariance_spectrum(z.features)
    fit = alpha_req(spectrum)
    assert (rows["alpha_req"]["value"], rows["alpha_req"]["r_squared"]) == pytest.approx(tuple(fit))
    assert rows["participation_ratio"]["value"] == pytest.approx(float(participation_ratio(spectrum)))
    assert rows["feature_std_ratio"]["value"] == pytest.approx(1, abs=0.02)
    assert rows["tolerance"]["value"] == pytest.approx(0, abs=0.01)
    assert "tolerance" not in {row["metric"] for row in Geometry()(z._replace(label=z.label * 0 - 1), z, 0)}


def test_geometry_without_rank_leaves_out_what_is_no_number(caplog):
    point = store(torch.zeros(50, 4), torch.arange(50) % 3)
    found = [row["metric"] for row in Geometry()(point, point, 0)]
    assert "rankme_centred" not in found
    assert "uniformity" in found
    assert "alpha_req is left out: α-ReQ reads the eigenvalues 11 to 100" in caplog.text
    assert "rankme_centred is left out: it is no number for these features" in caplog.text


def test_what_classes_and_images_do_not_allow_is_refused():
    for protocol, line in (
        (Episodes(ways=5), "5 ways, but the test images are of 3 classes"),
        (FewShot([500]), "500 images of each class: expected 1 to"),
        (Cluster([40]), "120 clusters, but only 90 test images have a label"),
    ):
        with pytest.raises(UserError, match=line):
            protocol.check(TRAIN, TEST)
    with pytest.raises(UserError, match="geometry needs two training images or more: there are 1"):
        list(Geometry()(TRAIN.take(torch.arange(1)), TEST, 0))
    with pytest.raises(UserError, match="there are no features of layer early: there are h"):
        list(LinearGrid(layers=["early"])(TRAIN, TEST, 0))


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: Episodes(shots=[]), "600 episodes of 5 ways, \\[\\] shots"),
        (lambda: FewShot(tries=1), "tries=1: expected 1 image and 2 tries or more"),
        (lambda: Cluster([0]), "expected 1 or more"),
        (lambda: Retrieval(queries=1), "of 1 queries: expected 1 and 2 queries or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, line):
    with pytest.raises(UserError, match=line):
        build()


def test_shots_that_classes_do_not_fill_are_left_out(caplog):
    protocol = Episodes(ways=3, shots=[1, 200], episodes=5)
    protocol.check(TRAIN, TEST)
    assert [row["metric"] for row in protocol(TRAIN, TEST, 0)] == ["3_way_1_shot_accuracy"]
    assert "episodes with shots=200 are left out: too few classes have as many images" in caplog.text
