import pytest
import torch
from samples import clusters
from sklearn.neighbors import NearestCentroid
from sslab.eval.probes.nearest_mean import episodes, nearest_mean
from sslab.ssl.core.errors import UserError

STORE = clusters(300, spread=1.5)
SETTING = {"ways": 3, "shots": 5, "queries": 15}


def test_nearest_mean_is_that_of_scikit_learn():
    label = torch.tensor([2, 5, 9])[STORE.label]
    found = nearest_mean(STORE.features[:30], label[:30], STORE.features[30:])
    reference = NearestCentroid().fit(STORE.features[:30], label[:30])
    assert found.tolist() == reference.predict(STORE.features[30:]).tolist()


def test_tasks_are_the_same_for_all_features_and_other_for_other_seeds():
    told = torch.nn.functional.one_hot(torch.arange(300), 300).float()  # who was told is all there is to see
    first, second, other = (episodes(told, STORE.label, **SETTING, count=20, seed=s) for s in (0, 0, 1))
    assert first.equal(second)
    found = [episodes(STORE.features, STORE.label, **SETTING, count=20, seed=s) for s in (0, 1)]
    assert not found[0].equal(found[1])
    assert other.mean() == pytest.approx(1 / 3, abs=0.1)


def test_no_image_is_told_and_asked():
    """Memory of images gives nothing, so no answer can be better than a guess of the first class."""
    told = torch.nn.functional.one_hot(torch.arange(300), 300).float()
    assert (episodes(told, STORE.label, **SETTING, count=30, seed=0) == 1 / 3).all()


def test_one_hot_features_are_always_right_and_random_labels_are_chance():
    one_hot = torch.nn.functional.one_hot(STORE.label).half()
    assert (episodes(one_hot, STORE.label, **SETTING, count=10, seed=0) == 1).all()
    label = torch.randint(3, (300,), generator=torch.Generator().manual_seed(5))
    assert episodes(STORE.features, label, **SETTING, count=100, seed=0).mean() == pytest.approx(1 / 3, abs=0.04)


def test_classes_that_are_too_small_have_no_part():
    label = STORE.label.clone()
    label[:10], label[10:40] = 7, -1
    found = episodes(torch.nn.functional.one_hot(label + 1).float(), label, **SETTING, count=10, seed=0)
    assert (found == 1).all()
    with pytest.raises(UserError, match=r"4 ways: only 3 classes have 20 images \(5 shots, 15 queries\)"):
        episodes(STORE.features, label, 4, 5, 15, 10, 0)
