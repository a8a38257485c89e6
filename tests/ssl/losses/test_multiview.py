import math

import pytest
import torch
from embeddings import normal, siamese
from sslab.ssl.core.step import Step
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.multiview import MVDHEL, MVInfoNCE
from torch import Tensor
from torch.nn.functional import normalize


@pytest.mark.parametrize(
    ("views", "temperature", "variant", "expected"),
    [
        (3, 0.1, "code", 9.705331153),
        (3, 0.5, "code", 2.897524655),
        (3, 0.1, "paper", 9.560244272),
        (3, 0.5, "paper", 2.601164811),
        (2, 0.1, "code", 12.170651230),
        (2, 0.5, "code", 3.039404144),
    ],
)
def test_golden_of_mv_infonce(golden, views, temperature, variant, expected):
    value = MVInfoNCE(temperature, variant=variant)(siamese(golden[:views])).total.item()
    assert value == pytest.approx(expected, abs=2e-8)


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_mv_infonce_equals_its_definition(golden, variant):
    """To more digits than the golden values have."""
    e = torch.einsum("lid,mjd->lmij", *2 * [normalize(golden, dim=-1)]).div(0.5).exp()
    losses = []
    for i in range(4):
        positive = sum(e[a, b, i, i] for a in range(3) for b in range(3) if a != b)
        every = [(a, b, j) for a in range(3) for b in range(3) for j in range(4)]
        kept = [(a, b, j) for a, b, j in every if (a != b if variant == "paper" else (b, j) != (a, i))]
        losses.append(torch.log(sum(e[a, b, i, j] for a, b, j in kept) / positive))
    value = MVInfoNCE(0.5, variant=variant)(siamese(golden)).total
    torch.testing.assert_close(value, torch.stack(losses).mean(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("views", "temperature", "variant", "expected"),
    [
        (3, 0.1, "code", 16.205435998),
        (3, 0.5, "code", 4.087689206),
        (3, 0.1, "paper", 28.804298472),
        (3, 0.5, "paper", 6.330688447),
        (2, 0.1, "code", 14.513794010),
        (2, 0.5, "code", 3.783092178),
    ],
)
def test_golden_of_mv_dhel(golden, views, temperature, variant, expected):
    value = MVDHEL(temperature, variant)(siamese(golden[:views])).total.item()
    assert value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("temperature", "expected"), [(0.1, 13.314704398), (0.5, 3.420159553)])
def test_golden_of_infonce_averaged_over_pairs_of_three_views(golden, temperature, expected):
    assert InfoNCE(temperature)(siamese(golden)).total.item() == pytest.approx(expected, abs=1e-9)


def test_golden_of_pvc_is_its_definition():
    z = normalize(normal(3, 4, 5), dim=-1)
    losses = []
    for a in range(3):
        for b in (v for v in range(3) if v != a):
            for i in range(4):
                others = [z[a, i] @ z[v, j] / 0.3 for v in range(3) for j in range(4) if j != i]
                own = z[a, i] @ z[b, i] / 0.3
                losses.append(torch.stack([own, *others]).logsumexp(0) - own)
    value = InfoNCE(0.3, negatives=["cross", "same", "rest"])(siamese(z)).total
    torch.testing.assert_close(value, torch.stack(losses).mean(), rtol=1e-12, atol=1e-12)


def denominators(z: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
    """Per image of two views: the logs of both NT-Xent denominators, and the positive logit."""
    a, b = normalize(z, dim=-1)
    both, n = torch.cat([a, b]), len(a)
    logits = (both @ both.T / t).fill_diagonal_(-torch.inf).logsumexp(1)
    return logits[:n], logits[n:], (a * b).sum(1) / t


def test_with_two_views_mv_infonce_is_the_log_of_the_mean_where_infonce_is_the_mean_of_the_log():
    z, t = normal(2, 6, 4), 0.3
    first, second, positive = denominators(z, t)
    expected = (torch.logaddexp(first, second) - math.log(2) - positive).mean()
    torch.testing.assert_close(MVInfoNCE(t)(siamese(z)).total, expected, rtol=1e-12, atol=1e-12)
    assert expected >= InfoNCE(t)(siamese(z)).total


def test_mv_infonce_of_equal_views_is_infonce():
    """Then both denominators are the same."""
    z = normal(1, 6, 4).expand(2, 6, 4)
    torch.testing.assert_close(MVInfoNCE(0.3)(siamese(z)).total, InfoNCE(0.3)(siamese(z)).total)


def test_decoupled_mv_infonce_leaves_out_every_positive():
    z, t = normalize(normal(3, 5, 4), dim=-1), 0.3
    logits = torch.einsum("lid,mjd->limj", z, z) / t
    same = torch.eye(5, dtype=torch.bool)[None, :, None, :].expand_as(logits)
    denominator = logits.masked_fill(same, -torch.inf).permute(1, 0, 2, 3).flatten(1).logsumexp(1)
    own = torch.einsum("limi->ilm", logits)[:, ~torch.eye(3, dtype=torch.bool)].logsumexp(1)
    value = MVInfoNCE(t, decouple=True)(siamese(z)).total
    torch.testing.assert_close(value, (denominator - own).mean(), rtol=1e-12, atol=1e-12)


def test_with_two_views_mv_dhel_has_no_negative_of_the_other_view():
    z, t = normal(2, 6, 4), 0.3
    a, b = normalize(z, dim=-1)
    within = [(x @ x.T / t).fill_diagonal_(-torch.inf).logsumexp(1) for x in (a, b)]
    expected = (within[0] + within[1] - (a * b).sum(1) / t).mean()
    torch.testing.assert_close(MVDHEL(t)(siamese(z)).total, expected, rtol=1e-12, atol=1e-12)


def test_mv_dhel_decouples_the_gradient():
    """The uniformity's gradient does not change when all views of other kinds do."""
    z = normal(3, 6, 4)
    q = {0: z[0].clone().requires_grad_(), 1: z[1], 2: z[2]}
    moved = {0: q[0], 1: z[1].roll(1, 0), 2: z[2].roll(2, 0)}
    loss = MVDHEL(0.3)
    gradients = []
    for views in (q, moved):
        total = loss(Step.of(views, views)).total
        positive = torch.stack(
            [
                (normalize(views[a], dim=1) * normalize(views[b], dim=1)).sum(1) / 0.3
                for a, b in ((0, 1), (0, 2), (1, 2))
            ]
        )
        gradients.append(torch.autograd.grad(total + positive.logsumexp(0).mean(), q[0])[0])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("make", [MVDHEL, MVInfoNCE])
@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_finite_with_ten_collapsed_views_in_float32(make, noise):
    z = (torch.ones(10, 256, 16) + noise * normal(10, 256, 16).float()).requires_grad_()
    total = make(0.1)(siamese(z)).total
    total.backward()
    assert total.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("make", [MVDHEL, MVInfoNCE])
def test_one_direction_alone_counts_its_pair_once(make):
    q, k = normal(5, 4), normal(5, 4, seed=1)
    value = make(0.3)(Step.of({0: q}, {1: k})).total
    unit_q, unit_k = normalize(q, dim=1), normalize(k, dim=1)
    positive = (unit_q * unit_k).sum(1) / 0.3
    candidates = unit_q if make is MVDHEL else unit_k
    logits = unit_q @ candidates.T / 0.3
    negative = logits.fill_diagonal_(-torch.inf).logsumexp(1)
    denominator = negative if make is MVDHEL else torch.logaddexp(negative, positive)
    torch.testing.assert_close(value, (denominator - positive).mean(), rtol=1e-12, atol=1e-12)
