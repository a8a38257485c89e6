import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import clusters
from sslab.eval.neighbours.retrieval import among, listed, measure, retrieve, same_class
from sslab.ssl.core.errors import UserError


def average_precision(*relevance: int) -> float:
    """Of one ranking: 1 positive, 0 negative, -1 junk."""
    return measure(torch.tensor([relevance]), [])["average_precision"].item()


def test_published_rankings():
    assert average_precision(1, 1, 1, 0, 0) == 1
    assert average_precision(*[0] * 9, 1) == pytest.approx(0.05)
    assert average_precision(1, 0, 0, 1) == pytest.approx(0.7083, abs=5e-5)


@settings(deadline=None)
@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=12).filter(lambda found: 1 in found))
def test_equals_loops_without_junk(relevance):
    kept = [r for r in relevance if r != -1]
    ranks = [i for i, r in enumerate(kept) if r == 1]
    steps = [((m / r if r else 1) + (m + 1) / (r + 1)) / 2 for m, r in enumerate(ranks)]
    found = {name: value.item() for name, value in measure(torch.tensor([relevance]), [1, 5]).items()}
    assert found["average_precision"] == pytest.approx(sum(steps) / len(ranks))
    at_r = [(m + 1) / (r + 1) for m, r in enumerate(ranks) if r < len(ranks)]
    assert found["average_precision_at_r"] == pytest.approx(sum(at_r) / len(ranks))
    for k in (1, 5):
        depth = min(k, ranks[-1] + 1)
        assert found[f"precision_at_{k}"] == pytest.approx(sum(kept[:depth]) / depth)
        assert found[f"recall_at_{k}"] == (1 in kept[:k])


@settings(deadline=None)
@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=9).filter(lambda found: 1 in found))
def test_negatives_behind_all_positives_change_nothing(relevance):
    assert average_precision(*relevance, 0, 0, -1, 0) == pytest.approx(average_precision(*relevance), rel=1e-12)


def test_a_query_without_a_positive_has_no_number():
    found = measure(torch.tensor([[0, -1, 0], [0, -1, 1]]), [1])
    for value in found.values():
        assert value.isnan().tolist() == [True, False]
    with pytest.raises(UserError, match="no query has a positive in the gallery"):
        retrieve(torch.eye(2), torch.eye(2), listed([torch.tensor([]).long()] * 2, [torch.tensor([0])] * 2, 2))


def test_easy_medium_and_hard_differ_in_what_is_junk():
    gallery = torch.tensor([[1.0, 0], [0.9, 0.1], [0.5, 0.5], [0, 1]])
    easy, hard, none = torch.tensor([0]), torch.tensor([2]), torch.tensor([], dtype=torch.long)
    values = [
        retrieve(gallery[:1], gallery, listed([positive], [junk], 4))["average_precision"].item()
        for positive, junk in ((easy, hard), (torch.cat([easy, hard]), none), (hard, easy))
    ]
    assert values == pytest.approx([1, (1 + (1 / 2 + 2 / 3) / 2) / 2, (0 + 1 / 2) / 2])


def test_classes_leave_out_the_query_and_what_is_unlabelled(monkeypatch):
    store = clusters(40, spread=2)
    label = store.label.clone()
    label[5] = -1
    found = retrieve(store.features, store.features, same_class(label, label, torch.arange(40)), ks=[3])
    cosine = torch.nn.functional.cosine_similarity(store.features[:, None], store.features[None], dim=2)
    for query in range(40):
        order = [j for j in cosine[query].argsort(descending=True).tolist() if j not in (query, 5)]
        expected = average_precision(*(int(label[j] == label[query]) for j in order))
        assert found["average_precision"][query].item() == pytest.approx(expected, nan_ok=True)
    assert found["average_precision"].isnan().nonzero().flatten().tolist() == [5]
    monkeypatch.setattr("sslab.eval.neighbours.retrieval.CELLS", 100)
    chunks = retrieve(store.features, store.features, same_class(label, label, torch.arange(40)), ks=[3])
    for name, value in found.items():
        torch.testing.assert_close(chunks[name], value, equal_nan=True)


def test_one_hot_features_retrieve_their_class():
    label = torch.arange(30) % 3
    found = retrieve(torch.eye(3)[label], torch.eye(3)[label], same_class(label, label, None))
    assert all((value == 1).all() for value in found.values())


def test_what_is_left_keeps_its_relevance():
    positive, junk = (
        [torch.tensor(p, dtype=torch.long) for p in part] for part in (([1], [0, 3], []), ([0], [2], [3]))
    )
    left = among(listed(positive, junk, 4), torch.tensor([1, 2]), torch.tensor([0, 2, 3]))
    assert left(torch.tensor([1, 0])).tolist() == [[0, 0, -1], [1, -1, 1]]
