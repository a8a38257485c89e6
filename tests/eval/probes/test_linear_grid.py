import pytest
import torch
from samples import clusters
from sslab.eval.features.store import FeatureStore
from sslab.eval.measures.classification import accuracy
from sslab.eval.probes.linear import probe, trial
from sslab.eval.probes.linear_grid import GRID, best, linear_grid
from sslab.eval.probes.sgd_heads import Recipe, fit

QUICK = GRID._replace(epochs=1, least_steps=40, batch_size=64)


def layers(n: int, seed: int = 0) -> FeatureStore:
    """One that hides the classes, one that tells them, and one that mixes both, of several widths."""
    good = clusters(n, seed, spread=1)
    noise = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed + 7))
    wide = torch.cat([noise, 0.02 * good.features], 1)
    return good._replace(features=noise, meta={"layer": "noise"}, others={"wide": wide, "good": good.features})


def test_thirteen_published_rates_scaled_to_the_batch():
    published = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1]
    assert GRID.learning_rates == pytest.approx([4 * rate for rate in published])


def test_52_heads_together_are_each_alone():
    recipe = QUICK._replace(least_steps=8)
    train, test = layers(200), layers(10, 1)
    four = {"fourth": clusters(200, spread=3), **{layer: train.at(layer) for layer in train.layers}}
    verdicts = {layer: trial(store, test, 0, recipe, "clean", accuracy).verdict for layer, store in four.items()}
    assert sum(map(len, verdicts.values())) == 52
    for layer, store in four.items():
        for i, rate in enumerate(recipe.learning_rates):
            alone = trial(store, test, 0, recipe._replace(learning_rates=(rate,)), "clean", accuracy)
            assert alone.verdict == [verdicts[layer][i]]


def test_every_layer_has_its_rate_and_the_best_is_the_one_that_tells():
    train, test = layers(300), layers(100, 1)
    found = linear_grid(train, test, 0, QUICK)
    assert list(found) == ["noise", "wide", "good"]
    for layer, probed in found.items():
        store = train.at(layer)
        verdict = trial(store, test.at(layer), 0, QUICK, "clean", accuracy).verdict
        assert probed.verdict == max(verdict) == verdict[QUICK.learning_rates.index(probed.learning_rate)]
        head = fit(store.features, store.label, 3, 0, QUICK._replace(learning_rates=(probed.learning_rate,)))
        assert probed.logits.equal(head.scores(test.at(layer).features))
    assert best(found) == "good"
    assert (found["good"].prediction == test.label).double().mean() > 0.85
    assert list(linear_grid(train, test, 0, QUICK, ["wide"])) == ["wide"]


def test_test_labels_and_features_choose_nothing():
    train, test = layers(200), layers(50, 1)
    other = test.take(torch.arange(50).flip(0))._replace(label=test.label)
    choices = [{layer: probed[1:] for layer, probed in linear_grid(train, t, 0, QUICK).items()} for t in (test, other)]
    assert choices[0] == choices[1]


def test_features_are_taken_as_they_are():
    data = clusters(200, spread=1)
    large = data._replace(features=100 * data.features)
    quick = QUICK._replace(learning_rates=(0.01,))
    assert not fit(large.features, data.label, 3, 0, quick).weight.equal(
        fit(data.features, data.label, 3, 0, quick).weight
    )
    assert (fit(large.features, data.label, 3, 0, quick).scale == 1).all()


def test_half_precision_features_are_read_in_single():
    half = [part.at("good")._replace(features=part.others["good"].half()) for part in (layers(200), layers(50, 1))]
    single = [part._replace(features=part.features.float()) for part in half]
    assert linear_grid(*half, 0, QUICK)["good"].logits.equal(linear_grid(*single, 0, QUICK)["good"].logits)


def test_rows_are_those_of_a_copy():
    data, rows = clusters(200, spread=1), torch.arange(0, 200, 3)
    recipe = Recipe(learning_rates=(0.1,), epochs=1, least_steps=30)
    some = fit(data.features, data.label, 3, 0, recipe, rows)
    copy = fit(data.features[rows], data.label[rows], 3, 0, recipe)
    assert some.weight.equal(copy.weight)
    assert probe(data.take(rows), data, 0, recipe).prediction.equal(some.scores(data.features).argmax(1))
