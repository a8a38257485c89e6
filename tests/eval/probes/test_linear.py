import pytest
import torch
from samples import clusters, store
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sslab.eval.features.store import FeatureStore
from sslab.eval.probes.linear import RECIPE, probe
from sslab.eval.probes.sgd_heads import fit
from sslab.ssl.core.errors import UserError
from torch import Tensor
from torch.nn.functional import one_hot

QUICK = RECIPE._replace(epochs=1, least_steps=60)


def accuracy(prediction: Tensor, data: FeatureStore) -> float:
    return (prediction == data.label).double().mean().item()


@pytest.fixture(scope="module")
def digits() -> tuple[FeatureStore, FeatureStore]:
    x, y = load_digits(return_X_y=True)
    features, label = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    return store(features[:1200], label[:1200]), store(features[1200:], label[1200:])


def test_comes_near_logistic_regression(digits):
    train, test = digits
    scaler = StandardScaler().fit(train.features)
    reference = LogisticRegression(max_iter=1000).fit(scaler.transform(train.features), train.label)
    expected = reference.score(scaler.transform(test.features), test.label)
    assert accuracy(probe(train, test, seed=0).prediction, test) == pytest.approx(expected, abs=0.03)


def test_heads_together_equal_each_alone():
    data = clusters(200, spread=2)
    together = fit(data.features, data.label, 3, 0, QUICK)
    for i, rate in enumerate(QUICK.learning_rates):
        alone = fit(data.features, data.label, 3, 0, QUICK._replace(learning_rates=(rate,)))
        torch.testing.assert_close(together.weight[:, i], alone.weight[:, 0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.bias[i], alone.bias[0], rtol=1e-4, atol=1e-5)


def test_a_head_is_plain_sgd():
    """Written out: momentum 0.9, cosine, no decay, standardised by the training set."""
    data = clusters(100, spread=2)
    recipe = QUICK._replace(learning_rates=(0.05,), least_steps=30, batch_size=100)
    head = fit(data.features, data.label, 3, 0, recipe)
    untrained = fit(data.features, data.label, 3, 0, recipe._replace(learning_rates=(0.0,)))
    x = (data.features - data.features.mean(0)) / data.features.std(0, correction=0)
    weight, bias = untrained.weight[:, 0].clone(), torch.zeros(3)
    speed_w, speed_b = torch.zeros_like(weight), torch.zeros_like(bias)
    for step in range(30):
        error = ((x @ weight + bias).softmax(1) - one_hot(data.label, 3)) / len(x)
        speed_w, speed_b = 0.9 * speed_w + x.T @ error, 0.9 * speed_b + error.sum(0)
        rate = 0.05 * (1 + torch.cos(torch.tensor(step / 30 * torch.pi))) / 2
        weight, bias = weight - rate * speed_w, bias - rate * speed_b
    torch.testing.assert_close(head.weight[:, 0], weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.bias[0], bias, rtol=1e-4, atol=1e-5)


def test_initial_weights():
    heads = fit(torch.zeros(10, 4000), torch.arange(10) % 2, 5, 3, QUICK._replace(learning_rates=(0.0,)))
    assert heads.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert heads.bias.abs().max() == 0


def test_same_seed_same_number(digits):
    train, test = digits
    first, second, other = (probe(train, test, seed, QUICK) for seed in (0, 0, 1))
    assert first.prediction.equal(second.prediction)
    assert first[1:] == second[1:]
    assert not first.prediction.equal(other.prediction)


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    probe(clusters(50), clusters(20, seed=1), 0, QUICK)
    assert torch.get_rng_state().equal(before)


def test_the_rate_is_chosen_on_train_alone(digits):
    train, test = digits
    other = test._replace(features=test.features.flip(1), label=test.label.flip(0))
    assert probe(train, test, 0, QUICK)[1:] == probe(train, other, 0, QUICK)[1:]


def test_a_rate_that_diverges_is_not_chosen(digits):
    train, test = digits
    found = probe(train, test, 0, QUICK._replace(learning_rates=(0.03, 3e38)))
    assert found.learning_rate == 0.03
    assert accuracy(found.prediction, test) > 0.85


def test_one_hot_features_are_always_right():
    label = torch.arange(300) % 5
    data = store(one_hot(label, 5).float(), label)
    found = probe(data, data, 0)
    assert found.prediction.tolist() == label.tolist()
    assert found.verdict == 1


def test_random_labels_give_chance():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(3000, 16, generator=draw), torch.randint(10, (3000,), generator=draw)
    test = store(x[1500:], y[1500:])
    assert accuracy(probe(store(x[:1500], y[:1500]), test, 0, QUICK).prediction, test) == pytest.approx(0.1, abs=0.03)


def test_scale_and_offset_of_a_feature_change_nothing():
    train, test = clusters(200, spread=2), clusters(200, seed=1, spread=2)
    factor, offset = torch.logspace(-2, 2, 8), torch.linspace(-1, 1, 8)
    moved = [s._replace(features=s.features * factor + offset) for s in (train, test)]
    agree = probe(*moved, seed=0, recipe=QUICK).prediction == probe(train, test, 0, QUICK).prediction
    assert agree.double().mean() > 0.98


def test_constant_features_are_ignored():
    train, test = clusters(200), clusters(100, seed=1)
    wider = [s._replace(features=torch.cat([s.features, torch.full((len(s.row), 2), 7.0)], 1)) for s in (train, test)]
    wider[1].features[:, -1] = 1e6  # constant in train only: it must not speak
    assert accuracy(probe(*wider, seed=0, recipe=QUICK).prediction, test) > 0.9


def test_rows_without_a_label_are_left_out():
    train, test = clusters(100), clusters(50, seed=1)
    junk = store(torch.full((30, 8), 1e4), torch.full((30,), -1))
    tensors = ("features", "label", "factors", "row")
    mixed = train._replace(**{f: torch.cat([getattr(s, f) for s in (train, junk)]) for f in tensors})
    assert probe(mixed, test, 0, QUICK).prediction.equal(probe(train, test, 0, QUICK).prediction)
    assert len(probe(train, mixed, 0, QUICK).prediction) == 100


@pytest.mark.parametrize(
    ("label", "line"),
    [
        (torch.tensor([-1, -1, 2]), "needs labels, but 1 training rows have one"),
        (torch.tensor([2, 2, -1]), "needs two classes or more, but all labels of train are 2"),
    ],
)
def test_refusals(label, line):
    with pytest.raises(UserError, match=line):
        probe(store(torch.eye(3), label), store(torch.eye(3), label), 0)
