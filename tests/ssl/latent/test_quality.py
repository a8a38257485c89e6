"""Weights of pairs of views, by what a frozen encoder sees in them."""

import copy
import math
from typing import Any

import pytest
import torch
from cli import SMALL, Cli
from foregrounds import DIM, save_foreground
from hypothesis import given
from hypothesis import strategies as st
from sslab.ssl.config.make import make
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Derived, Step, View
from sslab.ssl.latent.quality import Quality, Similarity, compare, maps, parts, weigh
from sslab.ssl.losses.infonce import InfoNCE
from torch import Tensor

B, D, SIDE = 6, 8, 5
QUALITY = ("latent=quality", "latent.quality.foreground=.")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def similarity(q: Tensor) -> Similarity:
    return Similarity(q / 2 + 0.1, 0.1 - q / 2)


scores_of_pairs = st.lists(st.floats(-2, 2), min_size=1, max_size=40).map(
    lambda q: torch.tensor(q, dtype=torch.float64)
)


@given(scores_of_pairs, st.floats(0, 5))
def test_weights_are_positive_of_mean_one_and_bounded(q: Tensor, gamma: float) -> None:
    weight = weigh(similarity(q), gamma)
    assert weight.mean().item() == pytest.approx(1, abs=1e-12)
    assert (weight > 0).all()
    assert weight.max() / weight.min() <= math.exp(4 * gamma) * (1 + 1e-12)
    torch.testing.assert_close(weight, len(q) * (gamma * q).softmax(0), rtol=1e-10, atol=1e-12)


@given(scores_of_pairs, st.floats(-2, 2))
def test_a_constant_added_to_all_scores_changes_nothing(q: Tensor, constant: float) -> None:
    torch.testing.assert_close(weigh(similarity(q + constant), 1.0), weigh(similarity(q), 1.0), rtol=1e-10, atol=1e-12)


@given(st.integers(1, 99), st.floats(-2, 2), st.floats(0, 5))
def test_equal_scores_and_gamma_0_give_exactly_1(n: int, q: float, gamma: float) -> None:
    assert (weigh(similarity(torch.full((n,), q, dtype=torch.float64)), gamma) == 1).all()
    assert (weigh(similarity(normal(n)), 0.0) == 1).all()


def test_maps_have_sum_1_but_for_a_constant_one() -> None:
    score = normal(B, SIDE, SIDE)
    score[2] = 0.7
    foreground, background = maps(score)
    varied = torch.arange(B) != 2
    for found in (foreground, background):
        assert ((found >= 0) & (found <= 1)).all()
        torch.testing.assert_close(found.sum((1, 2))[varied], torch.ones(B - 1, dtype=torch.float64), rtol=0, atol=1e-6)
    assert (foreground[2] == 0).all()
    torch.testing.assert_close(background[2], torch.full_like(background[2], 1 / SIDE**2), rtol=1e-6, atol=0)


def test_the_foreground_of_a_constant_map_is_like_no_other() -> None:
    patches, direction = normal(B, D, SIDE, SIDE), normal(D, seed=1)
    patches[0] = patches[0, :, :1, :1]
    assert (parts(patches, direction)[0][0] == 0).all()
    found = compare(patches, normal(B, D, SIDE, SIDE, seed=2), direction)
    assert found.foreground[0] == 0
    assert all(cosine.isfinite().all() for cosine in found)


def test_by_loops_as_it_is_published() -> None:
    a, b, v = normal(B, D, SIDE, SIDE), normal(B, D, SIDE, SIDE, seed=1), normal(D, seed=2)
    q = []
    for i in range(B):
        means = []
        for view in (a, b):
            tokens = [view[i, :, y, x] for y in range(SIDE) for x in range(SIDE)]
            score = [(token @ v).item() for token in tokens]
            front = [(s - min(score)) / (max(score) - min(score) + 1e-7) for s in score]
            back = [1 - f for f in front]
            of_sum = [[m / (sum(of) + 1e-7) for m in of] for of in (front, back)]
            means.append([sum(m * token for m, token in zip(of, tokens, strict=True)) for of in of_sum])
        cosine = [torch.cosine_similarity(x, y, dim=0).item() for x, y in zip(*means, strict=True)]
        q.append(cosine[0] - cosine[1])
    expected = torch.tensor([B * math.exp(1.5 * s) / sum(math.exp(1.5 * t) for t in q) for s in q], dtype=torch.float64)
    torch.testing.assert_close(weigh(compare(a, b, v), 1.5), expected)


def test_views_that_are_one_have_score_0_and_may_change_places() -> None:
    a, b, v = normal(B, D, SIDE, SIDE), normal(B, D, SIDE, SIDE, seed=1), normal(D, seed=2)
    same = compare(a, a, v)
    for cosine in same:
        torch.testing.assert_close(cosine, torch.ones(B, dtype=torch.float64))
    for forth, back in zip(compare(a, b, v), compare(b, a, v), strict=True):
        torch.testing.assert_close(forth, back, rtol=1e-12, atol=1e-12)


def test_the_other_sign_of_the_direction_swaps_foreground_and_background() -> None:
    a, b, v = normal(B, D, SIDE, SIDE), normal(B, D, SIDE, SIDE, seed=1), normal(D, seed=2)
    found, flipped = compare(a, b, v), compare(a, b, -v)
    torch.testing.assert_close(found.foreground, flipped.background, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.background, flipped.foreground, rtol=1e-6, atol=1e-6)


def scene(thing: Tensor, ground: Tensor) -> Tensor:
    """Patches with a thing in the middle, along the first axis, before a ground."""
    patches = ground[:, :, None, None].repeat(1, 1, SIDE, SIDE)
    patches[:, 0] = -1
    patches[:, :, 1:-1, 1:-1] = thing[:, :, None, None]
    patches[:, 0, 1:-1, 1:-1] = 1
    return patches


def test_the_same_thing_before_another_ground_counts_more() -> None:
    v = torch.eye(D, dtype=torch.float64)[0]
    things, grounds = [2 * normal(2, B, D, seed=seed) for seed in (3, 4)]
    kept = compare(scene(things[0], grounds[0]), scene(things[0], grounds[1]), v)
    lost = compare(scene(things[0], grounds[0]), scene(things[1], grounds[0]), v)
    q = Similarity(*(torch.cat(pair) for pair in zip(kept, lost, strict=True)))
    weight = weigh(q, 1.0)
    assert (weight[:B] > 1).all()
    assert (weight[B:] < 1).all()
    flipped = [compare(*views, -v) for views in ((scene(things[0], grounds[0]), scene(things[0], grounds[1])),)][0]
    assert (flipped.foreground < flipped.background).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_foreground(tmp_path_factory.mktemp("foreground"))


def step(**known: Any) -> Step:
    draw = torch.Generator().manual_seed(0)
    images = [torch.randn(B, 3, 32, 32, generator=draw) for _ in range(3)]
    views = tuple(View(image, torch.rand(B, 4), torch.zeros(B, dtype=torch.bool)) for image in images)
    z = [torch.randn(B, D, generator=draw).requires_grad_() for _ in range(2)]
    batch = Batch.of(torch.zeros(B, 3, 0, 0, dtype=torch.uint8), weight=torch.linspace(0.5, 1.5, B))
    return Step.of(dict(enumerate(z)), dict(enumerate(z)), batch, **({"views": views} | known))


def test_a_step_is_weighed_and_left_alone_otherwise(folder: str) -> None:
    part, given_ = Quality(folder), step()
    found = part(given_)
    expected = weigh(compare(part.look(given_.views[0]), part.look(given_.views[1]), part.direction), 1.0)
    assert torch.equal(found.weight, given_.weight * expected)
    assert not found.weight.requires_grad
    assert found.weight.std() > 1e-4
    assert found._replace(weight=given_.weight, terms={}, q=given_.q, k=given_.k) == given_
    assert all(torch.equal(found.q[view], q) for view, q in given_.q.items())
    assert found.terms["weight_std"].item() == pytest.approx(expected.std(correction=0).item())
    assert (found.terms["weight_min"], found.terms["weight_max"]) == (expected.min(), expected.max())
    assert 0 < found.terms["foreground_similarity"] <= 1


def test_the_loss_is_the_mean_of_weighted_losses_and_no_gradient_reaches_weights(folder: str) -> None:
    given_ = step()._replace(weight=torch.ones(B))
    found, loss = Quality(folder)(given_), InfoNCE(0.2)
    each = torch.stack([loss(given_._replace(weight=one)).total for one in torch.eye(B)])
    torch.testing.assert_close(loss(found).total, (found.weight * each).mean())
    without = Quality(folder, gamma=0.0)(given_)
    assert torch.equal(loss(without).total, loss(given_).total)
    gradients = [torch.autograd.grad(loss(s).total, given_.q[0])[0] for s in (without, given_)]
    assert torch.equal(*gradients)


def test_the_views_are_the_targets_or_the_pair_that_is_compared(folder: str) -> None:
    part, given_ = Quality(folder), step()
    both = part(given_).weight
    more = part(given_._replace(q=given_.q | {2: given_.q[0]}))
    one_way = part(given_._replace(q={0: given_.q[0]}, k={1: given_.k[1]}))
    made = part(given_._replace(k={1: given_.k[1]}, q={5: given_.q[0], 0: given_.q[0]}, derived={5: Derived(0, 1)}))
    for found in (more, one_way, made):
        torch.testing.assert_close(found.weight, both)
    with pytest.raises(UserError, match=r"compares two views, but all is of view \[1\]: set views.count=2"):
        part(given_._replace(q={1: given_.q[1]}, k={1: given_.k[1]}))


def test_only_the_direction_is_saved_and_nothing_is_trained(folder: str) -> None:
    part = Quality(folder)
    assert {name: value.shape for name, value in part.state_dict().items()} == {"direction": (DIM,)}
    assert not [*part.parameters()]
    again = Quality(folder)
    again.load_state_dict(part.state_dict())
    assert torch.equal(again.train()(step()).weight, part.eval()(step()).weight)
    assert torch.equal(copy.deepcopy(part)(step()).weight, part(step()).weight)


def test_statistics_of_the_views_are_taken_off_first(folder: str) -> None:
    part, given_ = Quality(folder), step()
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.4, 0.6]
    theirs, mine = (torch.tensor(pair)[..., None, None] for pair in ((mean, std), (part.mean, part.std)))
    views = tuple(v._replace(image=(v.image * mine[1] + mine[0] - theirs[0]) / theirs[1]) for v in given_.views)
    other = Quality(folder, view_mean=mean, view_std=std)
    torch.testing.assert_close(other(given_._replace(views=views)).weight, part(given_).weight, rtol=1e-4, atol=1e-4)


def test_the_encoder_computes_as_is_told_or_known(folder: str) -> None:
    node = {"_target_": "sslab.ssl.latent.quality.Quality", "foreground": folder, "precision": None}
    exact, quick = make(node), make(node, precision="bf16-true")
    told = make(node | {"precision": "32-true"}, precision="bf16-true")
    assert [part.encoder.dtype for part in (exact, quick, told)] == [torch.float32, torch.bfloat16, torch.float32]
    of = [part(step()).weight for part in (exact, quick, told)]
    assert torch.equal(of[0], of[2])
    assert not torch.equal(of[0], of[1])
    torch.testing.assert_close(of[0], of[1], rtol=0.05, atol=0)


def test_a_rehearsal_weighs_but_looks_at_one_image(folder: str) -> None:
    part = Quality(folder)
    blank = View(torch.zeros(1, 3, 32, 32).expand(B, -1, -1, -1), torch.zeros(B, 4), torch.zeros(B, dtype=torch.bool))
    seen: list[int] = []
    handle = part.encoder.backbone.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    assert part.rehearse(step(views=(blank, blank))).weight.std() > 0
    handle.remove()
    assert seen == [1, 1]


def test_weights_of_the_first_rows_are_those_of_a_batch_of_them(folder: str) -> None:
    part, views = Quality(folder), step().views
    first = tuple(View(view.image[:4], view.box[:4], view.flipped[:4]) for view in views)
    expected = weigh(part.similarity(first[1], first[0]), 1.0)
    torch.testing.assert_close(part.weights_of(views, [1, 1, 0, 2], 4), expected)


def test_a_preview_shows_weights(cli: Cli) -> None:
    save_foreground(cli.folder)
    plain, weighed = (cli.run(*SMALL, "preview=true", *chosen) for chosen in ((), QUALITY))
    assert (plain / "views.png").read_bytes() != (weighed / "views.png").read_bytes()


def test_what_does_not_fit_is_refused_before_the_first_step(cli: Cli) -> None:
    given_ = (*SMALL, "latent=[quality]", f"latent.quality.foreground={save_foreground(cli.folder)}")
    assert "BarlowTwins has no value per sample that a weight could multiply" in cli.refuse(*given_, "loss=barlow")
    assert "gamma=-1 would favour views" in cli.refuse(*given_, "latent.quality.gamma=-1")
    assert "has no value: set latent.quality.foreground" in cli.refuse(*SMALL, "latent=[quality]")
    nowhere = cli.refuse(*SMALL, "latent=[quality]", "latent.quality.foreground=nowhere")
    assert "foreground=nowhere holds no foreground.safetensors: make one by" in nowhere
