import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import clusters, store
from sklearn.neighbors import KNeighborsClassifier
from sslab.eval.neighbours.knn import knn, vote
from sslab.ssl.core.errors import UserError
from torch import Tensor
from torch.nn.functional import one_hot


def brute_force(bank, queries, k: int, temperature: float) -> list[int]:
    """One query at a time, with Python's sort."""
    found = []
    for query in queries.features.double():
        cosine = [float(x @ query / (x.norm() * query.norm())) for x in bank.features.double()]
        nearest = sorted(range(len(cosine)), key=lambda j: (-round(cosine[j], 12), int(bank.row[j])))[:k]
        score = [0.0] * (int(bank.label.max()) + 1)
        for j in nearest:
            score[bank.label[j]] += math.exp((cosine[j] - 1) / temperature)
        found.append(score.index(max(score)))
    return found


def accuracy(prediction: Tensor, label: Tensor) -> float:
    return (prediction == label).double().mean().item()


@pytest.mark.parametrize("k", [1, 5, 60])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equals_brute_force_and_scikit_learn(k, temperature):
    bank, queries = clusters(60, spread=2), clusters(40, seed=1, spread=2)
    (prediction,) = knn(bank, queries, [k], [temperature]).values()
    assert prediction.tolist() == brute_force(bank, queries, k, temperature)
    reference = KNeighborsClassifier(
        k,
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((1 - distance) / temperature),  # pyright: ignore[reportArgumentType]
    )
    assert prediction.tolist() == reference.fit(bank.features, bank.label).predict(queries.features).tolist()


@settings(deadline=None, max_examples=60)
@given(data=st.data(), m=st.integers(4, 30), k=st.integers(1, 4), seed=st.integers(0, 9))
def test_ties_go_to_the_lower_row_in_any_order_of_the_bank(data, m, k, seed):
    """Unit vectors along axes: similarities are exactly 0 or 1, so nearly all are ties."""
    axis = torch.tensor(data.draw(st.lists(st.integers(0, 2), min_size=m, max_size=m)))
    label = torch.tensor([0, 1, *data.draw(st.lists(st.integers(0, 3), min_size=m - 2, max_size=m - 2))])
    bank, queries = store(one_hot(axis, 3).float(), label), store(torch.eye(3), torch.zeros(3).long())
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    shuffled = store(bank.features[order], label[order], row=order)
    (expected,) = knn(bank, queries, [k], [0.5]).values()
    assert expected.tolist() == brute_force(bank, queries, k, 0.5)
    assert knn(shuffled, queries, [k], [0.5])[k, 0.5].tolist() == expected.tolist()


def test_many_settings_from_one_search_equal_each_alone():
    bank, queries = clusters(50, spread=2), clusters(30, seed=1, spread=2)
    together = knn(bank, queries, [1, 7, 20], [0.05, 1.0])
    assert list(together) == [(k, t) for k in (1, 7, 20) for t in (0.05, 1.0)]
    for (k, t), prediction in together.items():
        assert prediction.tolist() == knn(bank, queries, [k], [t])[k, t].tolist()


@given(seed=st.integers(0, 99), scale=st.sampled_from([2.0**-20, 0.5, 2.0, 2.0**20]))
@settings(deadline=None, max_examples=20)
def test_order_and_length_of_features_change_nothing(seed, scale):
    bank, queries = clusters(40, spread=2), clusters(20, seed=1, spread=2)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    changed = store(scale * bank.features[order], bank.label[order], row=order)
    assert knn(changed, queries, [5], [0.07])[5, 0.07].tolist() == knn(bank, queries, [5], [0.07])[5, 0.07].tolist()


def test_chunks_change_nothing(monkeypatch):
    bank, queries = clusters(50), clusters(33, seed=1, spread=2)
    whole = knn(bank, queries, [5], [0.07])[5, 0.07]
    monkeypatch.setattr("sslab.eval.neighbours.knn.CHUNK", 7)
    monkeypatch.setattr("sslab.eval.neighbours.exact.CHUNK", 6)
    monkeypatch.setattr("sslab.eval.neighbours.exact.CELLS", 100)
    assert knn(bank, queries, [5], [0.07])[5, 0.07].tolist() == whole.tolist()


def test_infinite_temperature_is_the_majority():
    similarity, label = torch.tensor([[0.9, 0.2, 0.1]]), torch.tensor([[0, 1, 1]])
    assert vote(similarity, label, math.inf).tolist() == [1]
    assert vote(similarity, label, 1e6).tolist() == [1]
    assert vote(similarity, label, 0.07).tolist() == [0]
    assert vote(similarity, label, 1e-3).tolist() == [0]


def test_equal_scores_go_to_the_lower_label():
    assert vote(torch.ones(1, 4), torch.tensor([[3, 2, 2, 3]]), 0.07).tolist() == [2]


def test_one_neighbour_is_the_nearest():
    bank, queries = clusters(50), clusters(20, seed=1)
    cosine = torch.nn.functional.cosine_similarity(queries.features[:, None], bank.features[None], dim=2)
    assert knn(bank, queries, [1], [0.07])[1, 0.07].tolist() == bank.label[cosine.argmax(1)].tolist()


def test_one_hot_features_are_always_right():
    label = torch.arange(40) % 5
    features = one_hot(label, 5).float()
    (prediction,) = knn(store(features, label), store(features, label), [8], [0.07]).values()
    assert prediction.tolist() == label.tolist()


def test_random_labels_give_chance():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(3000, 16, generator=draw), torch.randint(10, (3000,), generator=draw)
    (prediction,) = knn(store(x[:1500], y[:1500]), store(x[1500:], y[1500:]), [20], [0.07]).values()
    assert accuracy(prediction, y[1500:]) == pytest.approx(0.1, abs=0.03)


def test_rows_without_a_label_are_left_out():
    bank, queries = clusters(50), clusters(30, seed=1)
    unknown = torch.arange(50) % 3 == 0
    partly = bank._replace(label=bank.label.masked_fill(unknown, -1))
    rest = bank.take(~unknown)
    (prediction,) = knn(partly, queries, [5], [0.07]).values()
    assert prediction.tolist() == knn(rest, queries, [5], [0.07])[5, 0.07].tolist()
    assert len(knn(bank, partly, [5], [0.07])[5, 0.07]) == int((~unknown).sum())


@pytest.mark.parametrize(
    ("label", "k", "line"),
    [
        (torch.tensor([0, 1, -1]), 3, "kNN with k=3: expected 1 to 2, the labelled rows of the bank"),
        (torch.tensor([0, 1, 1]), 0, "kNN with k=0: expected 1 to 3"),
        (torch.tensor([-1, -1, -1]), 1, "no row of the bank has one"),
        (torch.tensor([4, -1, 4]), 1, "all 2 labelled rows are of class 4"),
    ],
)
def test_refusals_of_a_bank(label, k, line):
    with pytest.raises(UserError, match=line):
        knn(store(torch.eye(3), label), store(torch.eye(3), label), [k], [0.07])


def test_refusal_of_queries_without_labels():
    queries = clusters(5)._replace(label=torch.full((5,), -1))
    with pytest.raises(UserError, match="no row of the queries has one"):
        knn(clusters(10), queries, [1], [0.07])
