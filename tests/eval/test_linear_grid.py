import pytest
import torch
from samples import clusters
from sslab.eval.linear import Recipe, fit, probe
from sslab.eval.linear_grid import GRID, linear_grid
from sslab.eval.store import FeatureStore

QUICK = GRID._replace(epochs=1, least_steps=40, batch_size=64)


def layers(n: int, seed: int = 0) -> dict[str, FeatureStore]:
    """One that tells the classes, one that hides them, of several widths."""
    good = clusters(n, seed, spread=1)
    noise = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed + 7))
    wide = torch.cat([noise, 0.02 * good.features], 1)
    return {"noise": good._replace(features=noise), "wide": good._replace(features=wide), "good": good}


def test_thirteen_published_rates_scaled_to_the_batch():
    published = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1]
    assert GRID.learning_rates == pytest.approx([4 * rate for rate in published])


def test_52_heads_together_are_each_alone():
    train = layers(200) | {"fourth": clusters(200, spread=3)}
    test = layers(10, 1) | {"fourth": clusters(10, 1, spread=3)}
    recipe = QUICK._replace(least_steps=8)
    grid = linear_grid(train, test, 0, recipe).held_out_accuracy
    assert sum(map(len, grid.values())) == 52
    for layer in train:
        for i, rate in enumerate(recipe.learning_rates):
            alone = linear_grid({layer: train[layer]}, {layer: test[layer]}, 0, recipe._replace(learning_rates=(rate,)))
            assert grid[layer][i] == alone.held_out_accuracy[layer][0]


def test_the_best_layer_and_rate_are_trained_on_all_of_train():
    train, test = layers(300), layers(100, 1)
    found = linear_grid(train, test, 0, QUICK)
    best = max(found.held_out_accuracy["good"])
    assert found.layer == "good"
    assert found.held_out_accuracy["good"][QUICK.learning_rates.index(found.learning_rate)] == best
    store = train["good"]
    head = fit(store.features, store.label, 3, 0, QUICK._replace(learning_rates=(found.learning_rate,)))
    assert found.prediction.equal(head.predict(test["good"].features)[:, 0])
    assert (found.prediction == test["good"].label).double().mean() > 0.85


def test_test_labels_and_features_choose_nothing():
    train, test = layers(200), layers(50, 1)
    other = {name: s._replace(features=s.features.flip(0)) for name, s in test.items()}
    assert linear_grid(train, test, 0, QUICK)[1:] == linear_grid(train, other, 0, QUICK)[1:]


def test_features_are_taken_as_they_are():
    data = clusters(200, spread=1)
    large = data._replace(features=100 * data.features)
    quick = QUICK._replace(learning_rates=(0.01,))
    assert not fit(large.features, data.label, 3, 0, quick).weight.equal(
        fit(data.features, data.label, 3, 0, quick).weight
    )
    assert (fit(large.features, data.label, 3, 0, quick).scale == 1).all()


def test_half_precision_features_are_read_in_single():
    train, test = layers(200), layers(50, 1)
    half = [{name: s._replace(features=s.features.half()) for name, s in part.items()} for part in (train, test)]
    single = [{name: s._replace(features=s.features.float()) for name, s in part.items()} for part in half]
    assert linear_grid(*half, 0, QUICK).prediction.equal(linear_grid(*single, 0, QUICK).prediction)


def test_rows_are_those_of_a_copy():
    data, rows = clusters(200, spread=1), torch.arange(0, 200, 3)
    recipe = Recipe(learning_rates=(0.1,), epochs=1, least_steps=30)
    some = fit(data.features, data.label, 3, 0, recipe, rows)
    copy = fit(data.features[rows], data.label[rows], 3, 0, recipe)
    assert some.weight.equal(copy.weight)
    assert probe(data.take(rows), data, 0, recipe).prediction.equal(some.predict(data.features)[:, 0])
