import pytest
import torch
from samples import clusters, store
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sslab.eval.features.store import FeatureStore
from sslab.eval.probes.held_out import held_out
from sslab.eval.probes.logreg import PENALTIES, Classifier, logreg, path
from sslab.ssl.core.errors import UserError
from torch.nn.functional import cross_entropy

FEW = (100.0, 1.0, 0.01)


@pytest.fixture(scope="module")
def toy() -> FeatureStore:
    """Scales from 1 to 0.01, an offset, and classes that overlap."""
    found = clusters(400, spread=2)
    return found._replace(features=found.features * torch.logspace(0, -2, 8) + 3)


def test_penalties_are_the_published_ones():
    assert pytest.approx(1 / torch.logspace(-6, 5, 45, dtype=torch.float64).numpy()) == PENALTIES


def test_agrees_with_scikit_learn(toy):
    x, y = toy.features.double(), toy.label
    for penalty, found in path(toy.features, y, FEW, torch.float64):
        reference = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-12, max_iter=500).fit(x, y)
        torch.testing.assert_close(found.weight.T, torch.tensor(reference.coef_), rtol=1e-4, atol=1e-4)
        probability = (x @ found.weight + found.bias).softmax(1)
        torch.testing.assert_close(probability, torch.tensor(reference.predict_proba(x)), rtol=0, atol=1e-4)


def test_the_gradient_vanishes(toy):
    for penalty, (weight, bias) in path(toy.features, toy.label, PENALTIES[12::8], torch.float64):
        weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        loss = cross_entropy(toy.features.double() @ weight + bias, toy.label)
        (loss + penalty / 2 / len(toy.label) * weight.square().sum()).backward()
        assert weight.grad is not None
        assert bias.grad is not None
        assert torch.cat([weight.grad.flatten(), bias.grad]).norm() < 1e-6


def test_a_warm_start_ends_where_a_cold_one_does(toy):
    warm = dict(path(toy.features, toy.label, FEW, torch.float64))
    for penalty in FEW:
        ((_, cold),) = path(toy.features, toy.label, [penalty], torch.float64)
        torch.testing.assert_close(warm[penalty].weight, cold.weight, rtol=1e-4, atol=1e-5)


def test_single_precision_comes_near(toy):
    double = dict(path(toy.features, toy.label, FEW, torch.float64))
    for penalty, found in path(toy.features, toy.label, FEW, torch.float32):
        assert found.weight.dtype == torch.float32
        torch.testing.assert_close(found.weight, double[penalty].weight.float(), rtol=2e-2, atol=2e-3)


def test_chunks_change_nothing(toy, monkeypatch):
    whole = dict(path(toy.features, toy.label, [1.0], torch.float64))[1.0]
    monkeypatch.setattr("sslab.eval.probes.logreg.CHUNK", 70)
    parts = dict(path(toy.features, toy.label, [1.0], torch.float64))[1.0]
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-7)
    assert parts.logits(toy.features).argmax(1).equal(whole.logits(toy.features).argmax(1))


def test_more_dimensions_than_images_and_constant_features():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 50, generator=draw), torch.arange(30) % 3
    x[:, 10:20] = 7
    ((_, found),) = path(x, y, [0.1], torch.float64)
    assert found.weight[10:20].abs().max() < 1e-6
    reference = LogisticRegression(C=10, solver="newton-cg", tol=1e-12, max_iter=1000).fit(x.double(), y)
    torch.testing.assert_close(found.weight.T, torch.tensor(reference.coef_), rtol=1e-4, atol=1e-4)


def test_the_penalty_is_chosen_on_train_alone(toy):
    test = clusters(100, seed=1, spread=2)
    found = logreg(toy, test, 0, FEW)
    chosen, rest = held_out(len(toy.label), 0)
    part = toy.take(chosen)
    accuracy = {
        penalty: (classifier.logits(part.features).argmax(1) == part.label).double().mean().item()
        for penalty, classifier in path(toy.features[rest], toy.label[rest], FEW, torch.float64)
    }
    assert found.verdict == max(accuracy.values()) == accuracy[found.penalty]
    other = test._replace(features=-test.features, label=test.label.flip(0))
    assert logreg(toy, other, 0, FEW)[1:] == found[1:]


def test_digits():
    x, y = load_digits(return_X_y=True)
    features, label = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    train, test = store(features[:1200], label[:1200]), store(features[1200:], label[1200:])
    found = logreg(train, test, 0, (1e4, 1e3, 1e2))
    best = max(
        LogisticRegression(C=c, max_iter=3000).fit(x[:1200], y[:1200]).score(x[1200:], y[1200:]) for c in (1e-3,)
    )
    assert (found.prediction == test.label).double().mean().item() == pytest.approx(best, abs=0.01)


def test_rows_without_a_label_are_left_out(toy):
    junk = torch.arange(len(toy.label)) % 4 == 0
    partly = toy._replace(label=toy.label.masked_fill(junk, -1))
    assert logreg(partly, toy, 0, FEW).prediction.equal(logreg(toy.take(~junk), toy, 0, FEW).prediction)


def test_what_does_not_get_there_is_told(toy, monkeypatch, caplog):
    monkeypatch.setattr("sslab.eval.probes.logreg.ITERATIONS", 3)
    list(path(toy.features, toy.label, [0.4], torch.float64))
    assert "logistic regression, decay 1.0e-03: still moving after 3 iterations" in caplog.text


def test_one_class_is_refused():
    with pytest.raises(UserError, match="two classes or more, but all 5 labels are the same"):
        list(path(torch.eye(5), torch.full((5,), 2), FEW, torch.float64))


def test_logits_are_affine():
    classifier = Classifier(torch.eye(2), torch.tensor([0.0, 2]))
    assert classifier.logits(torch.tensor([[3.0, 0], [1, 5]])).tolist() == [[3, 2], [1, 7]]
