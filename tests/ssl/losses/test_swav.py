import math
from itertools import product

import pytest
import torch
from embeddings import normal
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step, pairs
from sslab.ssl.losses.ops.sinkhorn import sinkhorn
from sslab.ssl.losses.swav import SwAV
from torch import Tensor


def multicrop(seed: int = 0, **known: Tensor) -> Step:
    """Queries of four views and targets of the first two, of five images and six prototypes."""
    q, k = normal(4, 5, 6, seed=seed), normal(2, 5, 6, seed=seed + 1)
    return Step.of(dict(enumerate(q)), dict(enumerate(k)), **known)


def memory(groups: list[int]) -> dict[str, Tensor]:
    rows = torch.arange(len(groups))
    return {"memory": normal(len(groups), 6, seed=9), "memory_row": rows, "memory_group": torch.tensor(groups)}


def by_loops(step: Step, codes: dict[int, Tensor], temperature: float) -> list[float]:
    """One value per image: the mean over pairs of views of -Σ_c code log softmax."""
    directions = list(pairs(step))
    values = [0.0] * len(step.row)
    for (a, b), i in product(directions, range(len(step.row))):
        logits = [score / temperature for score in step.q[a][i].tolist()]
        log_sum = math.log(sum(map(math.exp, logits)))
        code = codes[b][i].tolist()
        values[i] -= sum(p * (logit - log_sum) for p, logit in zip(code, logits, strict=True)) / len(directions)
    return values


def test_equals_the_definition_and_weights_weigh_the_mean_alone() -> None:
    weight = torch.tensor([1.0, 0.0, 2.0, 1.0, 3.0])
    step = multicrop(weight=weight)
    values = by_loops(step, {b: sinkhorn(k, 0.3, 3) for b, k in step.k.items()}, 0.2)
    expected = sum(w * value for w, value in zip(weight.tolist(), values, strict=True)) / 7
    assert SwAV(0.2, 0.3)(step).total.item() == pytest.approx(expected, abs=1e-12)


def test_every_query_predicts_every_target_of_another_view() -> None:
    assert list(pairs(multicrop())) == [(0, 1), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)]
    step = multicrop()
    one = [SwAV()(Step.of({a: step.q[a]}, {b: step.k[b]})).total for a, b in pairs(step)]
    torch.testing.assert_close(SwAV()(step).total, torch.stack(one).mean())


def test_a_memory_is_balanced_with_the_batch_but_for_places_not_yet_filled() -> None:
    known = memory([0, -1, 0, -1])
    step = multicrop(**known)
    filled = known["memory"][[0, 2]]
    codes = {b: sinkhorn(torch.cat([k, filled]), 0.05, 3)[:5] for b, k in step.k.items()}
    expected = sum(by_loops(step, codes, 0.1)) / 5
    assert SwAV()(step).total.item() == pytest.approx(expected, abs=1e-12)
    assert not torch.equal(SwAV()(step).total, SwAV()(multicrop()).total)


def test_an_empty_memory_is_none() -> None:
    torch.testing.assert_close(SwAV()(multicrop(**memory([-1, -1, -1]))).total, SwAV()(multicrop()).total)


def test_groups_are_immaterial() -> None:
    assert torch.equal(SwAV()(multicrop(group=torch.tensor([0, 1, 0, 1, 2]))).total, SwAV()(multicrop()).total)


def test_predicting_the_code_leaves_its_entropy() -> None:
    k = normal(5, 6)
    code = sinkhorn(k, 0.05, 3)
    output = SwAV(temperature=0.1)(Step.of({0: 0.1 * code.log()}, {1: k}))
    entropy = -(code * code.log()).sum(dim=1).mean()
    torch.testing.assert_close(output.total, entropy)
    torch.testing.assert_close(output.terms["confidence"], code.amax(dim=1).mean())


def test_only_queries_get_a_gradient() -> None:
    q, k = normal(2, 5, 6).requires_grad_(), normal(2, 5, 6, seed=1).requires_grad_()

    def value(q: Tensor) -> Tensor:
        return SwAV()(Step.of(dict(enumerate(q)), dict(enumerate(k)))).total

    assert torch.autograd.gradcheck(value, q)
    value(q).backward()
    assert k.grad is None


def test_equal_scores_of_two_images_are_finite() -> None:
    z = torch.ones(2, 2, 6, requires_grad=True)
    output = SwAV()(Step.of(dict(enumerate(z)), dict(enumerate(z))))
    assert output.total.item() == pytest.approx(math.log(6))
    assert torch.autograd.grad(output.total, z)[0].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature=0.0 divides the scores: give it a value above 0"),
        ({"epsilon": 0.0}, "epsilon=0.0 and iterations=3: expected above 0, and 1 or more"),
        ({"iterations": 0}, "epsilon=0.05 and iterations=0: expected above 0, and 1 or more"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SwAV(**options)


def test_one_view_is_refused() -> None:
    with pytest.raises(UserError, match="make no pair"):
        SwAV()(Step.of({0: normal(5, 6)}, {0: normal(5, 6)}))
