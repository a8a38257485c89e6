import pytest
import torch
from embeddings import normal, value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Step
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.ops.weighted_sum import weighted_sum
from sslab.ssl.losses.policies.positives import Affinity, SameLabel
from sslab.ssl.losses.supcon import SupCon
from torch import Tensor
from torch.nn.functional import normalize


def siamese(z: Tensor, label: list[int]) -> Step:
    views = dict(enumerate(z))
    batch = Batch.of(torch.zeros(len(label), 3, 0, 0, dtype=torch.uint8), label=torch.tensor(label))
    return Step.of(views, views, batch)


def supcon_by_loops(z: Tensor, label: list[int], temperature: float) -> Tensor:
    """L_out of the paper, over all views at once."""
    views, images = z.shape[:2]
    points = [(normalize(z[v, i], dim=0), v, i) for v in range(views) for i in range(images)]
    losses = []
    for x, v, i in points:
        others = [((x @ u) / temperature, j) for u, w, j in points if (w, j) != (v, i)]
        denominator = torch.stack([logit for logit, _ in others]).exp().sum().log()
        positives = torch.stack([logit for logit, j in others if j == i or label[j] == label[i] >= 0])
        losses.append(denominator - positives.mean())
    return torch.stack(losses).mean()


def test_golden_of_supcon(golden):
    value = SupCon(SameLabel())(siamese(golden[:2], [0, 0, 1, 1])).total.item()
    assert value == pytest.approx(10.364467397, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), label=st.lists(st.integers(-1, 2), min_size=2, max_size=6), views=st.integers(2, 4))
def test_supcon_equals_its_definition_for_any_number_of_views(seed, label, views):
    z = normal(views, len(label), 4, seed=seed)
    ours = value_and_gradient(lambda z: SupCon(SameLabel(), 0.3, chunk=5)(siamese(z, label)).total, z)
    expected = value_and_gradient(lambda z: supcon_by_loops(z, label, 0.3), z)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_every_crop_has_all_targets_of_its_image_in_one_denominator():
    """Small crops, too, which are no targets."""
    z, label = normalize(normal(4, 5, 3), dim=-1), [0, 1, 0, 2, -1]
    batch = Batch.of(torch.zeros(5, 3, 0, 0, dtype=torch.uint8), label=torch.tensor(label))
    value = SupCon(SameLabel(), 0.3)(Step.of(dict(enumerate(z)), {0: z[0], 1: z[1]}, batch)).total
    losses = []
    for a in range(4):
        for i in range(5):
            others = [(z[a, i] @ z[b, j] / 0.3, j) for b in (0, 1) for j in range(5) if (b, j) != (a, i)]
            positives = [logit for logit, j in others if j == i or label[j] == label[i] >= 0]
            losses.append(torch.stack([x for x, _ in others]).logsumexp(0) - torch.stack(positives).mean())
    torch.testing.assert_close(value, torch.stack(losses).mean(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decouple", [False, True])
def test_gradient_of_supcon_is_that_of_its_value(decouple):
    loss = SupCon(SameLabel(), 0.3, decouple, chunk=5)
    z = normal(2, 6, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(siamese(z, [0, 0, 1, 1, 0, -1])).total, z)


@pytest.mark.parametrize("decouple", [False, True])
def test_with_labels_all_different_supcon_is_infonce(decouple):
    z = normal(2, 5, 4)
    losses = (SupCon(SameLabel(), 0.3, decouple), InfoNCE(0.3, decouple))
    supcon, infonce = (loss(siamese(z, [3, 1, 4, 0, 2])) for loss in losses)
    torch.testing.assert_close(supcon.total, infonce.total, rtol=1e-12, atol=1e-12)


def test_decoupled_supcon_has_no_positive_in_the_denominator():
    """So that the loss no longer depends on how the positives of an image are told apart from one another."""
    z = normalize(normal(2, 4, 3), dim=-1)
    value = SupCon(SameLabel(), 0.3, decouple=True)(siamese(z, [0, 0, 1, 1])).total
    flat, label = torch.cat([z[0], z[1]]), torch.tensor([0, 0, 1, 1] * 2)
    logits = flat @ flat.T / 0.3
    same = label[:, None] == label
    positive = (logits * (same & ~torch.eye(8, dtype=torch.bool))).sum(1) / 3
    expected = (logits.masked_fill(same, -torch.inf).logsumexp(1) - positive).mean()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_affinity_is_the_mean_under_the_teachers_weights():
    q, k = normalize(normal(5, 4), dim=1), normalize(normal(5, 4, seed=1), dim=1)
    value = SupCon(Affinity(0.5), 0.3, negatives=["cross"])(Step.of({0: q}, {1: k})).total
    weight = ((k @ k.T - 1) / 0.5).exp()
    target = weight / weight.sum(1, keepdim=True)
    expected = -(target * (q @ k.T / 0.3).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_sharp_affinity_is_infonce_and_its_loss_is_never_below_the_entropy_of_the_targets():
    q, k = normal(6, 4), normal(6, 4, seed=1)
    step = Step.of({0: q}, {1: k})
    losses = (SupCon(Affinity(1e-4), 0.3, negatives=["cross"]), InfoNCE(0.3, negatives=["cross"]))
    sharp, plain = (loss(step).total for loss in losses)
    torch.testing.assert_close(sharp, plain, rtol=1e-9, atol=1e-9)
    unit = normalize(k, dim=1)
    target = (unit @ unit.T / 0.3).softmax(1)
    entropy = -(target * target.log()).sum(1).mean()
    same = Step.of({0: k}, {1: k})
    value = SupCon(Affinity(0.3), 0.3, negatives=["cross"])(same).total
    torch.testing.assert_close(value, entropy)  # the query is the teacher: no better can be done
    assert SupCon(Affinity(0.3), 0.3, negatives=["cross"])(step).total > entropy


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 6), m=st.integers(1, 6), chunk=st.integers(1, 40))
def test_weighted_sum_is_a_matrix_product(n, m, chunk):
    weight, column = normal(n, m).abs(), normal(m, 3, seed=1).requires_grad_()
    result, mass = weighted_sum(column, weight.__getitem__, n, chunk)
    torch.testing.assert_close((result, mass), (weight @ column, weight.sum(1)))
    upstream = normal(n, 3, seed=2)
    gradients = (torch.autograd.grad(value, column, upstream) for value in (result, weight @ column))
    torch.testing.assert_close(*gradients)


def test_data_without_labels_is_refused():
    with pytest.raises(UserError, match="needs labels, but this data set has none"):
        SameLabel(classes=0)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(UserError, match="soft.temperature=0.*above 0"):
        Affinity(0.0)
