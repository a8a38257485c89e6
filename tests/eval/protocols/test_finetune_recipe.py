import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import tuning
from sslab.datamodules.reading.images import Stack
from sslab.datamodules.views.multi_source import Several
from sslab.eval.features.random_views import keyed
from sslab.eval.protocols.finetune_recipe import INIT, ORDER, VIEWS, Recipe, predict
from sslab.ssl.core.draws import mix, permutation
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch
from torch import Tensor
from torch.nn.functional import one_hot

ROWS = torch.arange(60)
SEED, RATE = 5, 0.3


@pytest.fixture(scope="module")
def train() -> Stack:
    return tuning.images(60)


def trained(recipe: Recipe, subject: Any, seed: int = SEED) -> Any:
    *_, model = recipe.train(subject, ROWS, seed, RATE)
    return model


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(one[name].equal(other[name]) for name in one)


def by_hand(train: Stack, optim: Any, batch_size: int, epochs: int) -> tuple[Tensor, Tensor]:
    """Weights of a head on frozen features after SGD with momentum 0.9, in float64."""
    backbone = tuning.backbone().eval()
    draw = torch.Generator().manual_seed(mix(mix(SEED, INIT)))
    w = (0.01 * torch.randn(3, backbone.dim, generator=draw)).double()
    b, speed_w, speed_b = torch.zeros(3).double(), torch.zeros_like(w), torch.zeros(3).double()
    steps = 60 // batch_size
    for epoch in range(epochs):
        views = keyed(tuning.CROPS, tuning.PLAIN, mix(SEED, VIEWS, epoch))
        for i, rows in enumerate(permutation(mix(SEED, ORDER, epoch), 60).tensor_split(steps)):
            image = views(Batch.of(train.stack[rows], row=rows))[0].image
            with torch.no_grad():
                x = backbone(image).pooled.double()
            error = ((x @ w.T + b).softmax(1) - one_hot(train.label[rows], 3)) / len(rows)
            speed_w, speed_b = 0.9 * speed_w + error.T @ x, 0.9 * speed_b + error.sum(0)
            rate = RATE * optim.factor(epoch * steps + i, epochs * steps)
            w, b = w - rate * speed_w, b - rate * speed_b
    return w, b


@pytest.mark.parametrize(
    ("optim", "batch_size", "epochs", "per_pass"),
    [
        (tuning.SGD, 60, 1, 64),
        (tuning.SGD._replace(warmup=0.2), 20, 2, 64),
        (tuning.SGD._replace(milestones=[0.5], drop=0.2), 30, 2, 7),  # parts of a batch are accumulated
    ],
)
def test_the_head_is_trained_by_plain_sgd(train, optim, batch_size, epochs, per_pass):
    recipe = tuning.recipe(optim=optim, batch_size=batch_size, epochs=epochs)
    head = trained(recipe, tuning.subject(train, batch_size=per_pass)).head[0]
    weight, bias = by_hand(train, optim, batch_size, epochs)
    torch.testing.assert_close(head.weight.double(), weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(head.bias.double(), bias, rtol=1e-4, atol=1e-6)


def test_a_frozen_trunk_is_the_same_to_the_bit_throughout(train):
    subject = tuning.subject(train)
    before = state(subject.backbone)
    for model in tuning.recipe(epochs=2, batch_size=20).train(subject, ROWS, SEED, RATE):
        assert same(state(model.backbone), before)
        assert same(state(subject.backbone), before)


@pytest.mark.parametrize("trunk", ["frozen", "fixed_statistics", "trained"])
def test_the_subject_is_left_as_it_is(train, trunk):
    subject = tuning.subject(train)
    subject.backbone.trunk.layer2.eval()
    subject.backbone.trunk.conv1.requires_grad_(False)
    twin = copy.deepcopy(subject.backbone)
    trained(tuning.recipe(trunk=trunk), subject)
    assert same(state(subject.backbone), state(twin))
    assert [m.training for m in subject.backbone.modules()] == [m.training for m in twin.modules()]
    assert [p.requires_grad for p in subject.backbone.parameters()] == [p.requires_grad for p in twin.parameters()]
    assert all(p.grad is None for p in subject.backbone.parameters())


@pytest.mark.parametrize(("trunk", "moves"), [("fixed_statistics", False), ("trained", True)])
def test_what_of_the_trunk_learns(train, trunk, moves):
    subject = tuning.subject(train)
    before, after = state(subject.backbone), state(trained(tuning.recipe(trunk=trunk), subject).backbone)
    weights = {name for name, _ in subject.backbone.named_parameters()}
    assert not any(before[name].equal(after[name]) for name in weights if "conv" in name)
    assert same({k: v for k, v in before.items() if "running" in k}, after) is not moves


def test_the_rate_of_the_trunk_is_apart_from_the_heads(train):
    """One SGD step: with the head's rate 10 times as high its weights move 10 times as far, and the trunk as before."""
    subject = tuning.subject(train)
    start = tuning.recipe(trunk="trained").start(subject, SEED)
    once, tenfold = (trained(tuning.recipe(trunk="trained", batch_size=60, head_scale=s), subject) for s in (1.0, 10.0))
    assert same(state(once.backbone), state(tenfold.backbone))
    moved = [model.head[0].weight - start.head[0].weight for model in (once, tenfold)]
    torch.testing.assert_close(moved[1], 10 * moved[0], rtol=1e-3, atol=1e-6)


def test_the_rate_follows_the_batch_that_there_is(train):
    """60 images make a batch of 60 whatever the batch size is, and so have its rate."""
    linear = tuning.SGD._replace(scaling="linear")
    subject = tuning.subject(train)
    large = trained(tuning.recipe(optim=linear, batch_size=4096), subject)
    exact = trained(tuning.recipe(optim=linear, batch_size=60), subject)
    assert large.head[0].weight.equal(exact.head[0].weight)


def test_same_seed_same_weights_and_another_gives_others(train):
    subject, recipe = tuning.subject(train), tuning.recipe(trunk="trained")
    before = torch.get_rng_state()
    first, second, other = (state(trained(recipe, subject, seed)) for seed in (0, 0, 1))
    assert same(first, second)
    assert not first["head.0.weight"].equal(other["head.0.weight"])
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_is_near(train, precision):
    whole, half = (
        trained(tuning.recipe(batch_size=60), tuning.subject(train, precision=p)).head[0].weight
        for p in ("32-true", precision)
    )
    assert half.dtype == torch.float32
    assert not half.equal(whole)
    torch.testing.assert_close(half, whole, rtol=0, atol=0.02 * whole.abs().max().item())


class OnDisk:
    """The same images, read one by one; some cannot be."""

    stack = None
    factor_names: tuple[str, ...] = ()

    def __init__(self, images: Stack, bad: tuple[int, ...] = ()) -> None:
        self.images, self.bad = images, bad
        self.label, self.factors = images.label, images.factors

    def __len__(self) -> int:
        return len(self.images)

    def read(self, row: int) -> Tensor:
        if row in self.bad:
            raise OSError("no image")
        return self.images.stack[row]

    def fingerprint(self) -> str:
        return "on disk"


def test_images_that_are_read_one_by_one_give_the_same(train):
    resident, read = (trained(tuning.recipe(), tuning.subject(images)) for images in (train, OnDisk(train)))
    assert resident.head[0].weight.equal(read.head[0].weight)


def test_images_that_cannot_be_read_are_left_out(train, caplog):
    bad = OnDisk(train, bad=(3, 4))
    subject = tuning.subject(bad)
    model = trained(tuning.recipe(), subject)
    row, logits = predict(model, subject, bad, ROWS)
    assert row.tolist() == [r for r in range(60) if r not in (3, 4)]
    assert logits.shape == (58, 3)
    assert "2 of 60 images cannot be read" in caplog.text


def test_predictions_are_those_of_the_plain_view(train):
    subject = tuning.subject(train, batch_size=13)
    model = trained(tuning.recipe(trunk="trained"), subject).eval()
    _, logits = predict(model, subject, train, ROWS)
    with torch.no_grad():
        expected = model(tuning.PLAIN(Batch.of(train.stack))[0].image)
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "recipe.epochs is 0: expected 1 or more"),
        ({"batch_size": 0}, "recipe.batch_size is 0"),
        ({"reads": []}, "recipe.reads is .*: expected names of layers"),
        ({"init_std": -1.0}, "recipe.init_std is -1.0"),
        ({"trunk": "trained", "head_scale": 0.0}, "recipe.head_scale is 0.0: expected a number above 0"),
        ({"trunk": "trained", "layer_decay": 1.5}, "recipe.layer_decay is 1.5: expected more than 0, at most 1"),
        ({"layer_decay": 0.5}, "are for a trunk that is trained, but it is frozen"),
        ({"optim": tuning.SGD._replace(final_decay=0.1)}, "final_decay are for pretraining"),
    ],
)
def test_wrong_settings(setting, message):
    with pytest.raises(UserError, match=message):
        tuning.recipe(**setting)


def test_views_of_several_sources_are_refused(train):
    views = Several({"large": tuning.CROPS, "small": replace(tuning.CROPS, shrink=2, kind="local")})
    with pytest.raises(UserError, match="choose another, such as simclr or crops"):
        trained(tuning.recipe(views=views), tuning.subject(train))
