import math
from itertools import product

import pytest
import torch
from embeddings import normal, siamese
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step, pairs
from sslab.ssl.losses.infonce import InfoNCE
from torch.nn.functional import cross_entropy, normalize, softplus


def by_loops(step: Step, temperature: float, decouple: bool, negatives: tuple[str, ...]) -> float:
    """The definition, written out anchor by anchor and negative by negative."""
    q, k = ({v: normalize(z, dim=1) for v, z in views.items()} for views in (step.q, step.k))
    memory = normalize(step.memory, dim=1)
    losses = []
    for (a, b), i in product(list(pairs(step)), range(len(step.row))):
        views = [v for source, v in (("cross", b), ("same", a)) if source in negatives and v in k]
        others = [(k[v][j], step.row[j], step.group[j]) for v in views for j in range(len(step.row))]
        others += list(zip(memory, step.memory_row, step.memory_group, strict=True))
        kept = [u for u, row, group in others if row != step.row[i] and group == step.group[i]]
        kept += list(normalize(step.hard[a][i], dim=1)) if a in step.hard else []
        positive = q[a][i] @ k[b][i] / temperature
        terms = [math.exp(q[a][i] @ u / temperature) for u in kept]
        terms += [] if decouple else [math.exp(positive)]
        losses.append((math.log(sum(terms)) if terms else 0.0) - positive)
    return float(torch.stack(losses).mean())


@pytest.mark.parametrize(
    ("temperature", "decouple", "expected"),
    [(0.1, False, 11.986203852), (0.5, False, 3.032369214), (0.1, True, 11.986054528), (0.5, True, 2.964428581)],
)
def test_golden(golden, temperature, decouple, expected):
    output = InfoNCE(temperature, decouple)(siamese(golden[:2]))
    assert output.total.item() == pytest.approx(expected, abs=1e-9)
    assert output.terms["positive_similarity"].item() == pytest.approx(-0.262716878, abs=1e-9)


def test_moco_v3_has_four_temperatures_times_the_value(golden):
    """Its official loss is a sum over both directions, each times 2 · temperature."""
    q, k, t = normal(2, 6, 4), normal(2, 6, 4, seed=1), 0.3
    official = sum(
        2 * t * cross_entropy(normalize(q[a], dim=1) @ normalize(k[b], dim=1).T / t, torch.arange(6))
        for a, b in ((0, 1), (1, 0))
    )
    ours = InfoNCE(t, negatives=["cross"])(Step.of(dict(enumerate(q)), dict(enumerate(k)))).total
    torch.testing.assert_close(official, 4 * t * ours, rtol=1e-12, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    decouple=st.booleans(),
    negatives=st.sampled_from([("cross", "same"), ("cross",), ("same",), ()]),
    queries=st.sampled_from([(0, 1), (0,), (0, 1, 2)]),
    targets=st.sampled_from([(0, 1), (1,), (1, 2)]),
)
def test_equals_the_definition(seed, decouple, negatives, queries, targets):
    step = Step.of(
        dict(zip(queries, normal(3, 5, 4, seed=seed), strict=False)),
        dict(zip(targets, normal(3, 5, 4, seed=seed + 1), strict=False)),
        row=torch.tensor([7, 3, 7, 1, 2]),  # one image twice
        group=torch.tensor([0, 0, 0, 1, 0]),
        memory=normal(4, 4, seed=seed + 2),
        memory_row=torch.tensor([3, 20, 21, 22]),  # one image of the batch
        memory_group=torch.tensor([0, 0, 1, 0]),
        hard={0: normal(5, 2, 4, seed=seed + 3)},
    )
    result = InfoNCE(0.3, decouple, negatives, chunk=9)(step).total.item()
    assert result == pytest.approx(by_loops(step, 0.3, decouple, negatives), abs=1e-12)


def test_it_is_the_softplus_of_dcl_and_its_gradient_the_damped_one(golden):
    for i in range(4):  # all weight on one image, one direction: the identity holds anchor by anchor
        values, gradients = [], []
        for decouple in (False, True):
            z = golden[:2].clone().requires_grad_()
            step = Step.of({0: z[0]}, {0: z[0], 1: z[1]}, weight=torch.eye(4)[i])
            values.append(InfoNCE(0.5, decouple)(step).total)
            gradients.append(*torch.autograd.grad(values[-1], z))
        torch.testing.assert_close(values[0], softplus(values[1]), rtol=0, atol=1e-12)
        torch.testing.assert_close(gradients[0], torch.sigmoid(values[1]) * gradients[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("decouple", [False, True])
def test_groups_are_contrasted_apart(decouple):
    z, group = normal(2, 6, 4), torch.tensor([0, 1, 0, 0, 1, 0])
    loss = InfoNCE(0.2, decouple)
    apart = [loss(siamese(z[:, group == g])).total for g in (0, 1)]
    torch.testing.assert_close(
        loss(siamese(z, group=group)).total, (4 * apart[0] + 2 * apart[1]) / 6, rtol=1e-12, atol=1e-12
    )


def test_an_image_alone_has_only_its_attraction():
    z = normal(2, 1, 4).requires_grad_()
    alone = InfoNCE(0.5)(siamese(z))
    assert alone.total.item() == 0
    assert alone.terms["positive_probability"].item() == 1
    assert torch.autograd.grad(alone.total, z)[0].abs().max() == 0
    decoupled, attraction = InfoNCE(0.5, decouple=True)(siamese(z)).total, -torch.cosine_similarity(z[0], z[1])[0] / 0.5
    torch.testing.assert_close(decoupled, attraction)
    torch.testing.assert_close(*(torch.autograd.grad(value, z) for value in (decoupled, attraction)))


def test_targets_of_the_own_view_are_left_out_when_there_are_none():
    q, k = {0: normal(4, 3)}, {1: normal(4, 3, seed=1)}
    assert torch.equal(InfoNCE()(Step.of(q, k)).total, InfoNCE(negatives=["cross"])(Step.of(q, k)).total)


def test_one_view_is_refused():
    with pytest.raises(UserError, match=r"views \[0\] and targets of views \[0\] make no pair.*views.count"):
        InfoNCE()(siamese(normal(1, 4, 3)))


def test_no_negatives_are_refused():
    with pytest.raises(UserError, match=r"view 0 has no negatives: negatives=\[\].*queue"):
        InfoNCE(negatives=[])(siamese(normal(2, 4, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 0.0}, "temperature=0.0 .* above 0"), ({"negatives": ["batch"]}, r"names \['batch'\].*cross")],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        InfoNCE(**options)
