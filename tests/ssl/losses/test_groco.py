import pytest
import torch
from embeddings import normal, siamese, value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.losses.groco import GroCo
from sslab.ssl.losses.ops.sorting import among_lowest
from torch import Tensor
from torch.nn.functional import normalize

cosine = st.floats(-1, 1, width=16)


def at(cosines: list[float]) -> Tensor:
    """Unit vectors at these cosines to (1, 0)."""
    c = torch.tensor(cosines, dtype=torch.float64)
    return torch.stack([c, (1 - c.square()).sqrt()], dim=1)


def one_query(positives: list[float], negatives: list[float]) -> Step:
    """An image whose query has these cosines with its targets and with a memory of other images."""
    memory = {"memory": at(negatives), "memory_row": torch.arange(1, len(negatives) + 1)}
    memory |= {name: torch.zeros(len(negatives), dtype=torch.long) for name in ("memory_group", "memory_label")}
    return Step.of({0: at([1.0])}, {1 + i: at([c]) for i, c in enumerate(positives)}, **memory)


def test_goldens(golden):
    loss = GroCo(k_neg=2)
    assert loss(siamese(golden)).total.item() == pytest.approx(0.721177051, abs=1e-9)
    assert loss(siamese(golden[:2])).total.item() == pytest.approx(0.672665433, abs=1e-9)


def test_it_is_never_zero_but_for_steep_sorting():
    values = [GroCo()(one_query([c], [d] * 10)).total.item() for c, d in ((1.0, -1.0), (0.3, 0.3))]
    assert values == pytest.approx([0.14697, 0.20198], abs=1e-5)
    steep = [GroCo(steepness=s)(one_query([0.5], [-0.5] * 10)).total.item() for s in (1e4, 1e8)]
    assert steep == pytest.approx([2.9e-5, 2.9e-9], rel=5e-3)


def test_it_is_the_cross_entropy_of_being_among_the_lowest():
    negatives, positives = [-0.2, 0.1, 0.4], [0.3, 0.7]
    p = among_lowest(torch.tensor([negatives + positives], dtype=torch.float64), 3, steepness=2.0)
    target = torch.tensor([[1, 1, 1, 0, 0]], dtype=torch.float64)
    expected = torch.nn.functional.binary_cross_entropy(p, target)
    step = one_query(positives[::-1], [0.1, -0.9, 0.4, -0.2])  # of which the farthest is not among the three
    torch.testing.assert_close(GroCo(k_neg=3, steepness=2.0)(step).total, expected)


@settings(max_examples=40, deadline=None)
@given(negatives=st.lists(cosine, min_size=1, max_size=6), positives=st.lists(cosine, min_size=2, max_size=2))
def test_it_falls_as_the_positive_gets_closer(negatives, positives):
    far, near = sorted(positives)
    loss = GroCo(k_neg=4)
    assert loss(one_query([near], negatives)).total <= loss(one_query([far], negatives)).total + 1e-12


@settings(max_examples=40, deadline=None)
@given(negatives=st.permutations([-0.9, -0.4, 0.0, 0.2, 0.5, 0.8]), positives=st.permutations([-0.1, 0.3, 0.6]))
def test_the_order_of_negatives_and_of_positives_is_immaterial(negatives, positives):
    expected = GroCo(k_neg=4)(one_query([-0.1, 0.3, 0.6], [-0.9, -0.4, 0.0, 0.2, 0.5, 0.8])).total
    torch.testing.assert_close(GroCo(k_neg=4)(one_query(positives, negatives)).total, expected)


def test_places_without_a_negative_hold_the_farthest():
    short, full = one_query([0.4], [0.2, -0.3]), one_query([0.4], [0.2, -0.3, -1.0, -1.0])
    torch.testing.assert_close(GroCo(k_neg=4)(short).total, GroCo(k_neg=4)(full).total)


@pytest.mark.parametrize("field", ["row", "group"])
def test_the_same_image_and_other_groups_are_no_negatives(golden, field):
    value = torch.zeros(4, dtype=torch.long) if field == "row" else torch.arange(4)
    alone = [GroCo(k_neg=2)(siamese(golden[:, i : i + 1])).total for i in range(4)]
    expected = torch.stack(alone).mean()
    torch.testing.assert_close(GroCo(k_neg=2)(siamese(golden, **{field: value})).total, expected)


def test_hard_negatives_compete_with_the_others():
    step = one_query([0.4], [0.2, -0.3])
    hard = step._replace(memory=at([0.2]), memory_row=step.memory_row[:1], memory_group=step.memory_group[:1])
    hard = hard._replace(memory_label=step.memory_label[:1], hard={0: at([-0.3])[None]})
    torch.testing.assert_close(GroCo(k_neg=2)(hard).total, GroCo(k_neg=2)(step).total)


def test_negatives_are_targets_of_the_own_view_or_else_its_queries(golden):
    z, off = normalize(golden, dim=-1), ~torch.eye(4, dtype=torch.bool)
    own = GroCo(k_neg=3)(Step.of({0: z[0]}, {0: z[1], 1: z[2]})).terms["negative_similarity"]
    torch.testing.assert_close(own, (z[0] @ z[1].T)[off].mean())
    queries = GroCo(k_neg=3)(Step.of({0: z[0]}, {1: z[1], 2: z[2]})).terms["negative_similarity"]
    torch.testing.assert_close(queries, (z[0] @ z[0].T)[off].mean())


def test_small_crops_have_the_same_crop_of_other_images_as_negatives():
    """Two large crops that are targets and two small ones, by a loop over queries."""
    z = normal(4, 6, 3)

    def by_loops(z: Tensor) -> Tensor:
        unit, losses = normalize(z, dim=-1), []
        for a in range(4):
            for i in range(6):
                positive = torch.stack([unit[a, i] @ unit[b, i].detach() for b in (0, 1) if b != a])
                negative = torch.stack([unit[a, i] @ unit[a, j].detach() for j in range(6) if j != i])
                cosines = torch.cat([negative.sort().values[-3:], positive.sort().values])
                low = among_lowest(cosines[None], 3, 1.0)[0]
                losses.append(-torch.cat([low[:3], 1 - low[3:]]).log().mean())
        return torch.stack(losses).mean()

    def ours(z: Tensor) -> Tensor:
        return GroCo(k_neg=3)(Step.of(dict(enumerate(z)), {0: z[0], 1: z[1]})).total

    results = (value_and_gradient(value, z) for value in (ours, by_loops))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_targets_are_constants(golden):
    q, k = golden.clone().requires_grad_(), golden.clone().requires_grad_()
    total = GroCo(k_neg=2)(Step.of(dict(enumerate(q)), dict(enumerate(k)))).total
    to_query, to_target = torch.autograd.grad(total, (q, k), allow_unused=True, materialize_grads=True)
    assert to_query.abs().sum() > 0
    assert not to_target.any()
    z = golden.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(GroCo(k_neg=2)(siamese(z)).total, z)[0], to_query)


def test_weights_weigh_the_queries(golden):
    loss, weight = GroCo(k_neg=2), torch.tensor([1.0, 0.0, 2.0, 1.0])
    each = torch.stack([loss(siamese(golden, weight=only)).total for only in torch.eye(4)])
    torch.testing.assert_close(loss(siamese(golden)).total, each.mean())
    torch.testing.assert_close(loss(siamese(golden, weight=weight)).total, (weight * each).sum() / 4)


def test_what_cannot_be_sorted_is_refused():
    with pytest.raises(UserError, match="k_neg=10 needs batches of 11 or more images, but data.batch_size=10"):
        GroCo(batch_size=10)
    with pytest.raises(UserError, match="k_neg=0"):
        GroCo(k_neg=0)
    with pytest.raises(UserError, match="steepness=0.0"):
        GroCo(steepness=0.0)
    with pytest.raises(UserError, match="make no pair"):
        GroCo()(Step.of({0: torch.eye(3)}, {0: torch.eye(3)}))
    GroCo(batch_size=11)
