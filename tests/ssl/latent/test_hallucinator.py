import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Derived, Step, pairs
from sslab.ssl.experiment.build import build
from sslab.ssl.latent.hallucinator import Hallucinator, away
from sslab.ssl.latent.queue import Queue
from sslab.ssl.losses.cosine import Cosine
from sslab.ssl.losses.infonce import InfoNCE
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

B, D, T = 5, 4, 0.2
Normal = Callable[..., Tensor]
LOSSES = {
    "simclr": InfoNCE(T),
    "moco": InfoNCE(T, negatives=[]),
    "byol": Cosine(4.0),
    "simsiam": Cosine(1.0),
    "nnclr": InfoNCE(T, negatives=["cross"], anchors="targets"),
}


def part(**chosen: Any) -> Hallucinator:
    torch.manual_seed(0)
    return Hallucinator(D, **chosen).double()


@pytest.fixture
def steps(normal: Normal, step_of: Callable[..., Step]) -> dict[str, Step]:
    """What each of the base methods makes of a batch, with gradients where it has them."""
    z = [normal(B, D, seed=seed).requires_grad_() for seed in range(4)]
    return {
        "simclr": Step.of({0: z[0], 1: z[1]}, {0: z[0], 1: z[1]}, key=3),
        "moco": step_of(z[0], z[1].detach(), normal(9, D, seed=7), key=3),
        "byol": Step.of({0: z[0], 1: z[1]}, {0: z[2].detach(), 1: z[3].detach()}, key=3),
        "simsiam": Step.of({0: z[0], 1: z[1]}, {0: z[2].detach(), 1: z[3].detach()}, key=3),
        "nnclr": Step.of({0: z[0], 1: z[1]}, {0: z[2].detach(), 1: z[3].detach()}, key=3),
    }


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_what_moves_away_stays_on_the_line(seed: int, r: float) -> None:
    q, k = torch.randn(2, B, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert torch.equal(away(q, k, 0.0), q)
    assert torch.equal(away(q, q, r), q)
    e = away(q, k, r)
    torch.testing.assert_close(e, (1 + r) * q + -r * k)
    torch.testing.assert_close((e - k).norm(dim=1), (1 + r) * (q - k).norm(dim=1))


def test_units_fall_apart_as_far_as_is_derived(normal: Normal) -> None:
    q, k = (normalize(normal(B, D, seed=seed), dim=1) for seed in (0, 1))
    c, last = (q * k).sum(1), (q * k).sum(1)
    for r in (0.05, 0.1, 0.5, 1.0):
        found = cosine_similarity(away(q, k, r), k)
        expected = ((1 + r) * c - r) / ((1 + r) ** 2 + r**2 - 2 * r * (1 + r) * c).sqrt()
        torch.testing.assert_close(found, expected)
        assert (found < last).all()
        last = found


def test_the_generator_is_the_published_one() -> None:
    shapes = [tuple(p.shape) for p in part().generator.parameters()]
    assert shapes == [(8, 8), (8,), (8, 8), (8,), (4, 8), (4,)]
    assert [type(layer) for layer in part().generator] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.parametrize("method", LOSSES)
def test_every_query_is_left_as_it_is_and_gets_one_beside_it(steps: dict[str, Step], method: str) -> None:
    step, changed = steps[method], part()(steps[method])
    assert all(changed.q[view] is q for view, q in step.q.items())
    assert changed.k == step.k
    expected = {2 + i: Derived(a, b) for i, (a, b) in enumerate(pairs(step))}
    assert changed.derived == expected
    assert all(changed.q[number].shape == (B, D) for number in expected)
    assert list(pairs(changed)) == [*pairs(step), *((number, b) for number, (_, b) in expected.items())]


def test_hallucinated_queries_have_numbers_that_no_view_has(normal: Normal) -> None:
    views: Any = (None,) * 5
    step = Step.of({0: normal(B, D)}, {1: normal(B, D)})
    assert list(part()(step).derived) == [2]
    assert list(part().change(step._replace(views=views)).derived) == [5]


def test_it_is_made_of_the_query_and_what_lies_farther_from_the_partner(steps: dict[str, Step]) -> None:
    made, step = part(), steps["moco"]
    r, q, k = made.draw(3, 0, 1), step.q[0], step.k[1]
    torch.testing.assert_close(made(step).q[2], made.generator(torch.cat([q, (1 + r) * q - r * k], dim=1)))
    unit = part(normalise=True)(step)
    q, k = normalize(q, dim=1), normalize(k, dim=1)
    torch.testing.assert_close(unit.q[2], made.generator(torch.cat([q, (1 + r) * q - r * k], dim=1)))
    assert unit.q[0] is step.q[0]


def test_with_a_predictor_it_moves_away_from_the_other_prediction(steps: dict[str, Step]) -> None:
    made, step = part(partner="query"), steps["simsiam"]
    r, q, p = made.draw(3, 1, 0), step.q[1], step.q[0]
    torch.testing.assert_close(made(step).q[3], made.generator(torch.cat([q, (1 + r) * q - r * p], dim=1)))


def test_r_is_uniform_and_another_for_every_step_and_pair_of_views() -> None:
    draws = torch.tensor([[part(reach=0.1).draw(key, a, 1 - a) for a in (0, 1)] for key in range(400)])
    assert ((draws >= 0) & (draws < 0.1)).all()
    assert (draws.mean(0) - 0.05).abs().max() < 5 * 0.1 / (12 * 400) ** 0.5
    assert torch.corrcoef(draws.T)[0, 1].abs() < 0.25
    assert part().draw(7, 0, 1) == part().draw(7, 0, 1)


@pytest.mark.parametrize("method", LOSSES)
def test_the_loss_is_the_mean_of_the_base_methods_and_that_of_the_hallucinated(
    steps: dict[str, Step], method: str
) -> None:
    """So with no weight on the hallucinated the base method would be left, with its gradients."""
    step, loss = steps[method], LOSSES[method]
    changed = part()(step)
    alone = changed._replace(q={number: changed.q[number] for number in changed.derived})
    back = changed._replace(q=step.q)
    assert torch.equal(loss(back).total, loss(step).total)
    torch.testing.assert_close(loss(changed).total, (loss(step).total + loss(alone).total) / 2)
    once = torch.autograd.grad(loss(back).total, step.q[0], retain_graph=True)[0]
    assert torch.equal(once, torch.autograd.grad(loss(step).total, step.q[0], retain_graph=True)[0])


class First(nn.Module):
    """Gives the query back."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :D]


@pytest.mark.parametrize("method", LOSSES)
def test_a_query_hallucinated_as_itself_changes_nothing(steps: dict[str, Step], method: str) -> None:
    """It has the target and the negatives of the query that it is made of."""
    step, loss, same = steps[method], LOSSES[method], part()
    same.generator = First()  # pyright: ignore[reportAttributeAccessIssue]
    ours, base = (loss(s).total for s in (same(step), step))
    torch.testing.assert_close(ours, base)
    gradients = [torch.autograd.grad(total, step.q[0])[0] for total in (ours, base)]
    torch.testing.assert_close(*gradients)


def test_simclr_by_a_loop(steps: dict[str, Step]) -> None:
    step = part()(steps["simclr"])
    q, k = ({v: normalize(z, dim=1) for v, z in of.items()} for of in (step.q, step.k))
    losses = []
    for query, own, target in ((0, 0, 1), (1, 1, 0), (2, 0, 1), (3, 1, 0)):
        for i in range(B):
            others = [k[view][j] for view in (own, target) for j in range(B) if j != i]
            logits = torch.stack([k[target][i], *others]) @ q[query][i] / T
            losses.append(-logits.log_softmax(0)[0])
    torch.testing.assert_close(LOSSES["simclr"](step).total, torch.stack(losses).mean())


@pytest.mark.parametrize("method", LOSSES)
def test_the_generator_learns_and_targets_do_not(steps: dict[str, Step], method: str) -> None:
    made = part(partner="query" if method in ("byol", "simsiam") else "target")
    step = made(steps[method])
    LOSSES[method](step).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())
    assert all(q.grad is not None for q in steps[method].q.values())
    if method != "simclr":
        assert not any(k.requires_grad for k in step.k.values())


def test_a_queue_stores_every_key_once_on_either_side(steps: dict[str, Step]) -> None:
    step = steps["moco"]._replace(memory=torch.empty(0, D, dtype=torch.float64))
    step = step._replace(**{name: step.row[:0] for name in ("memory_row", "memory_group", "memory_label")})
    plain, before, after = (Queue(2 * B, (D,), B).double() for _ in range(3))
    plain(step)
    part()(before(step))
    after(part()(step))
    for name, value in plain.state_dict().items():
        assert torch.equal(before.state_dict()[name], value)
        assert torch.equal(after.state_dict()[name], value)


def test_literal_is_the_official_code_of_moco(normal: Normal) -> None:
    """Queries [q; h] and keys [k; k], of which all are stored."""
    queue, made = Queue(4 * B, (D,), B).double(), part(literal=True)
    for number in range(3):
        z = normal(2, B, D, seed=number)
        row = torch.arange(number * B, (number + 1) * B)
        stored = queue.z.clone()
        step = queue(made(Step.of({0: z[0]}, {1: z[1]}, row=row, key=number)))
    q, k, r = z[0], normalize(z[1], dim=1), made.draw(2, 0, 1)
    queries = normalize(torch.cat([q, made.generator(torch.cat([q, q + r * (q - k)], dim=1))]), dim=1)
    logits = torch.cat([(queries * k.repeat(2, 1)).sum(1, keepdim=True), queries @ normalize(stored, dim=1).T], dim=1)
    expected = cross_entropy(logits / T, torch.zeros(2 * B, dtype=torch.long))
    torch.testing.assert_close(LOSSES["moco"](step).total, expected)
    keys = normal(2, B, D, seed=1)[1]
    assert torch.equal(stored[2 * B :].unflatten(0, (B, 2)), keys[:, None].expand(-1, 2, -1))


def test_all_other_parts_begin_as_they_would_without_it() -> None:
    def parts(latent: str) -> Any:
        GlobalHydra.instance().clear()
        with initialize_config_module("sslab.conf", version_base="1.3"):
            small = ("trainer=cpu", "data.batch_size=8", "data.source.train=64", "predictor=mlp", "loss=dcl")
            config: Any = compose("config", [f"latent={latent}", "name=test", *small, "+loss/temperature=learned"])
        module = build(OmegaConf.to_container(config, resolve=True)).module  # pyright: ignore[reportArgumentType]
        return {name: value for name, value in module.state_dict().items() if not name.startswith("latent")}

    without, beside = parts("[]"), parts("[hallucinator]")
    assert without.keys() == beside.keys()
    assert all(torch.equal(without[name], beside[name]) for name in without)


def test_two_steps_of_one_key_are_equal_also_in_a_copy(steps: dict[str, Step]) -> None:
    made = part()
    assert torch.equal(made(steps["moco"]).q[2], copy.deepcopy(made)(steps["moco"]).q[2])


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"reach": -0.1}, "reach=-0.1"),
        ({"literal": True, "normalise": True}, "literal=true is MoCo's official code"),
        ({"literal": True, "partner": "query"}, "literal=true is MoCo's official code"),
    ],
)
def test_settings_that_make_no_sense_are_refused(chosen: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        part(**chosen)


def test_steps_that_it_cannot_work_on_are_refused(steps: dict[str, Step]) -> None:
    with pytest.raises(UserError, match=r"views \[1\] have no query"):
        part(partner="query")(steps["moco"])
    with pytest.raises(UserError, match="put hallucinator before queue"):
        part(literal=True)(steps["moco"])
    with pytest.raises(UserError, match="lengths matter after ft"):
        part()(steps["moco"]._replace(norms_matter=True))
