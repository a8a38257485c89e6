from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.eval.measures.clustering import agreement
from torch import Tensor


def random(n: int, values: int, seed: int) -> Tensor:
    return torch.randint(values, (n,), generator=torch.Generator().manual_seed(seed))


def test_chance_raises_nmi_with_the_number_of_clusters_but_not_ari():
    label = random(2000, 10, 0)
    few, many = agreement(random(2000, 10, 1), label), agreement(random(2000, 1000, 1), label)
    assert few["nmi"] == pytest.approx(0.0097, abs=0.002)
    assert many["nmi"] == pytest.approx(0.325, abs=0.01)
    for name in ("ari", "ami"):
        assert few[name] == pytest.approx(0, abs=0.01)
        assert many[name] == pytest.approx(0, abs=0.03)


def test_a_perfect_match_under_other_names():
    label = random(300, 6, 0)
    assert agreement((label + 2) % 6, label) == pytest.approx(
        {"cluster_accuracy": 1, "purity": 1, "nmi": 1, "ami": 1, "ari": 1}
    )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), clusters=st.integers(1, 5))
def test_accuracy_is_that_of_the_best_matching(seed, clusters):
    cluster, label = random(20, clusters, seed), random(20, 4, seed + 1)
    names = [*range(4), *[-1] * clusters]  # a cluster may match no class
    best = max(
        sum(chosen[c] == y for c, y in zip(cluster.tolist(), label.tolist(), strict=True))
        for chosen in permutations(names, clusters)
    )
    found = agreement(cluster, label)
    assert found["cluster_accuracy"] == pytest.approx(best / 20)
    assert found["purity"] >= found["cluster_accuracy"]


def test_more_clusters_than_classes_are_pure_but_not_accurate():
    label = torch.arange(4).repeat_interleave(10)
    found = agreement(torch.arange(40), label)
    assert found["purity"] == 1
    assert found["cluster_accuracy"] == pytest.approx(0.1)


def test_equals_the_formulas():
    cluster, label = random(50, 3, 4), random(50, 4, 5)
    n = torch.stack([torch.stack([((cluster == c) & (label == y)).sum() for y in range(4)]) for c in range(3)]).double()

    def entropy(count: Tensor) -> float:
        p = count[count > 0] / 50
        return float(-(p * p.log()).sum())

    def pairs(count: Tensor) -> float:
        return float((count * (count - 1) / 2).sum())

    h, k, joint = entropy(n.sum(1)), entropy(n.sum(0)), entropy(n.flatten())
    expected = pairs(n.sum(1)) * pairs(n.sum(0)) / (50 * 49 / 2)
    ari = (pairs(n) - expected) / ((pairs(n.sum(1)) + pairs(n.sum(0))) / 2 - expected)
    found = agreement(cluster, label)
    assert found["nmi"] == pytest.approx(2 * (h + k - joint) / (h + k))
    assert found["ari"] == pytest.approx(ari)
