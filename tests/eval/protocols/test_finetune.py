import math
from typing import Any

import pytest
import torch
import tuning
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from sslab.datamodules.reading.images import Stack
from sslab.eval.features.extract import known
from sslab.eval.probes.held_out import held_out
from sslab.eval.probes.label_subsets import digest
from sslab.eval.protocols.finetune import Tuned
from sslab.eval.protocols.finetune_recipe import predict
from sslab.ssl.config.make import make
from sslab.ssl.config.signature import check
from sslab.ssl.core.errors import UserError

SEED = 2
# The published settings: images per step, peak rate, epochs, weight decay, and its schedule.
PUBLISHED = {
    "linear_moco": (256, 30.0, 100, 0.0, [0.6, 0.8]),
    "linear_simclr": (4096, 1.6, 90, 0.0, []),
    "linear_swav": (256, 0.3, 100, 1e-6, []),
    "linear_barlow": (256, 0.3, 100, 1e-6, []),
    "linear_mocov3": (1024, 0.4, 90, 0.0, []),
    "linear_dino": (1024, 0.004, 100, 0.0, []),
    "linear_mae": (16384, 6.4, 90, 0.0, []),
    "semi_1": (256, 0.02, 20, 0.0, [0.6, 0.8]),
    "semi_10": (256, 0.01, 20, 0.0, [0.6, 0.8]),
    "finetune": (256, 0.05, 30, 0.0, []),
    "finetune_vit": (1024, 0.002, 100, 0.05, []),
}


def chosen(name: str, *overrides: str) -> Tuned:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        config = compose("evaluate", [f"protocol={name}", "checkpoint=some", "name=some", *overrides])
    protocols: Any = OmegaConf.to_container(config.protocols, resolve=True)
    check(protocols)
    (only,) = protocols
    assert only == protocols[name]["name"] == name
    return make(protocols[name])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings(name):
    protocol = chosen(name)
    recipe, optim = protocol.recipe, protocol.recipe.optim
    found = (recipe.batch_size, optim.peak(recipe.batch_size), recipe.epochs, optim.weight_decay, optim.milestones)
    size, rate, epochs, decay, milestones = PUBLISHED[name]
    assert found == (size, pytest.approx(rate), epochs, pytest.approx(decay, abs=1e-11), milestones)
    assert recipe.trunk == ("frozen" if name.startswith("linear") else "trained")
    assert (protocol.variant, protocol.rates) == ("clean", [])


def test_one_word_makes_them_all_peek():
    assert chosen("semi_10", "protocol_variant=published").variant == "published"


def test_the_rates_of_head_and_trunk_of_swav():
    for name, (trunk, head, share) in {"semi_1": (0.02, 5.0, 0.01), "semi_10": (0.01, 0.2, 0.1)}.items():
        protocol = chosen(name)
        assert protocol.recipe.optim.peak(256) * protocol.recipe.head_scale == pytest.approx(head)
        assert (protocol.recipe.optim.peak(256), protocol.share) == (trunk, share)


@pytest.fixture(scope="module")
def train() -> Stack:
    return tuning.images(60)


@pytest.fixture(scope="module")
def test() -> Stack:
    return tuning.images(40, seed=1)


def measure(protocol: Tuned, train: Any, test: Any, seed: int = SEED) -> dict[str, Any]:
    protocol.check(known(train), known(test))
    (row,) = protocol(tuning.subject(train, test), seed)
    return {k: v for k, v in row.items() if k != "seconds"}


def tuned(**settings: Any) -> Tuned:
    names = ("share", "split", "rates", "variant", "metric")
    own = {name: settings.pop(name) for name in names if name in settings}
    return Tuned("probe", tuning.recipe(**settings), **own)


def test_a_row(train, test):
    row = measure(tuned(epochs=2), train, test)
    *_, model = tuning.recipe(epochs=2).train(tuning.subject(train), torch.arange(60), SEED, 0.1)
    _, logits = predict(model, tuning.subject(train), test, torch.arange(40))
    assert row["value"] == (logits.argmax(1) == test.label).double().mean().item()
    assert row["scores"][1].equal((logits.argmax(1) == test.label).float())
    assert {k: row[k] for k in ("metric", "protocol", "n", "layer", "learning_rate", "trained_on", "share")} == {
        "metric": "probe_accuracy",
        "protocol": "probe-clean@1",
        "n": 40,
        "layer": "h",
        "learning_rate": 0.1,
        "trained_on": 60,
        "share": 1.0,
    }


def test_same_seed_same_number(train, test):
    first, second, other = (measure(tuned(trunk="trained"), train, test, seed) for seed in (0, 0, 1))
    hits = [row.pop("scores")[1] for row in (first, second, other)]
    assert first == second
    assert hits[0].equal(hits[1])
    assert not hits[0].equal(hits[2])


def test_clean_does_not_look_at_the_labels_of_test(train, test):
    """However the labels of test are renamed, each image has the same prediction, which is right under one of them."""
    found = []
    for shift in range(3):
        renamed = Stack.of(test.stack, (test.label + shift) % 3, test.classes)
        found.append(measure(tuned(rates=[0.01, 0.1], epochs=2), train, renamed))
    assert sum(row["scores"][1] for row in found).tolist() == [1] * 40
    assert len({(row["learning_rate"], row["held_out_accuracy"]) for row in found}) == 1


def test_published_takes_the_best_epoch_and_rate_on_test(train, test):
    settings: dict[str, Any] = {"epochs": 4, "rates": [1.0, 0.05]}
    row = measure(tuned(**settings, variant="published"), train, test)
    subject, accuracy = tuning.subject(train), {}
    for rate in (0.05, 1.0):
        for epoch, model in enumerate(tuning.recipe(epochs=4).train(subject, torch.arange(60), SEED, rate), 1):
            _, logits = predict(model, subject, test, torch.arange(40))
            accuracy[rate, epoch] = (logits.argmax(1) == test.label).double().mean().item()
    best = max(accuracy, key=lambda setting: accuracy[setting])
    assert (row["learning_rate"], row["epoch"], row["value"]) == (*best, accuracy[best])
    assert row["protocol"] == "probe-published@1"


def test_the_rate_is_chosen_on_a_tenth_of_train(train, test):
    row = measure(tuned(rates=[1e-6, 0.5], epochs=3), train, test)
    held, rest = held_out(60, SEED)
    *_, model = tuning.recipe(epochs=3).train(tuning.subject(train), rest, SEED, row["learning_rate"])
    read, logits = predict(model, tuning.subject(train), train, held)
    assert row["held_out_accuracy"] == (logits.argmax(1) == train.label[read]).double().mean().item()
    *_, final = tuning.recipe(epochs=3).train(tuning.subject(train), torch.arange(60), SEED, row["learning_rate"])
    _, logits = predict(final, tuning.subject(train), test, torch.arange(40))
    assert row["value"] == (logits.argmax(1) == test.label).double().mean().item()


def test_a_rate_that_diverges_is_not_chosen_and_alone_is_refused(train, test):
    assert measure(tuned(rates=[0.1, math.inf], epochs=3), train, test)["learning_rate"] == 0.1
    alone = tuned(optim=tuning.SGD._replace(lr=math.inf), epochs=3)
    with pytest.raises(UserError, match=r"probe has diverged at the rate inf: lower protocols.probe.recipe.optim.lr"):
        measure(alone, train, test)


def test_few_labels_are_nested_and_named_in_the_row(test):
    train = tuning.images(400)
    train.label[::7] = -1
    few, more = (tuned(share=share).rows(known(train)) for share in (0.05, 0.1))
    assert (len(few), len(more)) == (17, 34)  # of 342
    assert set(few.tolist()) < set(more.tolist())
    assert (train.label[more] >= 0).all()
    assert not tuned(share=0.1, split=1).rows(known(train)).equal(more)
    row, another = (measure(tuned(share=0.05), train, test, seed) for seed in (0, 1))
    assert row["rows"] == another["rows"] == digest(few)
    assert row["trained_on"] == 17


def test_few_labels_suffice_for_two_colours():
    train, test = tuning.images(120, classes=2), tuning.images(60, seed=1, classes=2)
    for trunk, head_scale in (("trained", 5.0), ("fixed_statistics", 1.0)):
        protocol = tuned(share=0.1, trunk=trunk, head_scale=head_scale, epochs=30)
        assert measure(protocol, train, test)["value"] == 1.0


def test_mean_per_class_is_told_and_chosen_for(train, test):
    row = measure(tuned(metric="mean_per_class", rates=[0.01, 0.1]), train, test)
    assert row["metric"] == "probe_mean_per_class"
    assert row["value"] == pytest.approx(sum(row["per_class"].values()) / 3)
    assert 0 <= row["held_out_mean_per_class"] <= 1


def test_images_without_labels_are_neither_trained_nor_tested_on(train, test):
    half = Stack.of(test.stack, test.label.clone(), test.classes)
    half.label[20:] = -1
    row = measure(tuned(), train, half)
    assert (row["n"], row["scores"][0].tolist()) == (20, list(range(20)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"share": 0.0}, "protocols.probe.share is 0.0: expected more than 0, at most 1"),
        ({"share": 1.1}, "protocols.probe.share is 1.1"),
        ({"rates": [0.1, -1.0]}, "protocols.probe.rates is .*: expected numbers above 0"),
        ({"share": 0.1, "rates": [0.1, 1.0]}, "protocols.probe.rates are tried on a tenth of 6 images"),
        ({"share": 0.01}, "1.00% of 60 labelled images are less than one of each of 3 classes"),
    ],
)
def test_wrong_settings_are_refused_before_training(train, test, setting, message):
    with pytest.raises(UserError, match=message):
        tuned(**setting).check(known(train), known(test))


def test_without_labels(train, test):
    unlabelled = Stack.of(test.stack, torch.full_like(test.label, -1), test.classes)
    with pytest.raises(UserError, match="there are no labelled images to test on"):
        tuned().check(known(train), known(unlabelled))
