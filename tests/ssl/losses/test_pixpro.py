from typing import Any

import pytest
import torch
from embeddings import normal
from sslab.heads.dense import DenseHead, Propagation
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step, View, pairs
from sslab.ssl.losses.ops.pixel_pairs import positives
from sslab.ssl.losses.pixcontrast import PixContrast
from sslab.ssl.losses.pixpro import PixPro
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.encoder import Encoder
from sslab.ssl.model.teacher import EMA
from torch import Tensor
from torch.nn.functional import cosine_similarity

WHOLE, LEFT, RIGHT = [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.4, 1.0], [0.6, 0.0, 1.0, 1.0]
CORNERS = [0.0, 0.0, 0.2, 0.2], [0.8, 0.0, 1.0, 0.2], [0.8, 0.8, 1.0, 1.0]
both = pytest.mark.parametrize("loss", [PixPro(), PixContrast()])


def view(*boxes: list[float], flipped: bool = False, side: int = 0) -> View:
    box = torch.tensor(boxes, dtype=torch.float64)
    return View(normal(len(boxes), 3, side, side).float(), box, torch.full((len(boxes),), flipped))


def siamese(*z: Tensor, **known: Any) -> Step:
    return Step.of(dict(enumerate(z)), dict(enumerate(z)), **known)


def multicrop(**known: Any) -> Step:
    """Queries of three views of four images, targets of two, maps of two sizes; views of one image do not overlap."""
    large = [view(WHOLE, LEFT, CORNERS[0], WHOLE), view(WHOLE, RIGHT, CORNERS[1], LEFT, flipped=True)]
    small = view(RIGHT, CORNERS[0], CORNERS[2], LEFT)
    q = {0: normal(4, 5, 3, 4), 1: normal(4, 5, 3, 4, seed=1), 2: normal(4, 5, 2, 2, seed=2)}
    return Step.of(q, {v: normal(4, 5, 3, 4, seed=3 + v) for v in (0, 1)}, views=(*large, small), **known)


def by_loops(step: Step, of_pair: Any) -> tuple[list[float], list[float]]:
    """For every image the mean over its pairs of views that overlap, and the share that do."""
    values, shares = [], []
    for i in range(len(step.row)):
        found = []
        for a, b in pairs(step):
            q, k = step.q[a], step.k[b]
            positive = positives(step.views[a], step.views[b], q.shape[2:], k.shape[2:], 0.7)[i]
            if positive.any():
                found.append(of_pair(q[i].flatten(1).T, k[i].flatten(1).T, positive))
        values.append(sum(found) / len(found) if found else 0.0)
        shares.append(len(found) / len(list(pairs(step))))
    return values, shares


def consistency(q: Tensor, k: Tensor, positive: Tensor) -> float:
    cosines = [cosine_similarity(q[i], k[j], dim=0).item() for i, j in positive.nonzero().tolist()]
    return -4 * sum(cosines) / len(cosines)


def contrast(q: Tensor, k: Tensor, positive: Tensor) -> float:
    values = []
    for i, row in enumerate(positive):
        if row.any():
            share = (cosine_similarity(q[i], k, dim=1) / 0.3).softmax(0)
            values.append(-share[row].sum().log().item())
    return sum(values) / len(values)


@pytest.mark.parametrize(("loss", "of_pair"), [(PixPro(), consistency), (PixContrast(), contrast)])
def test_equals_the_definition_over_images_that_overlap(loss, of_pair) -> None:
    weight = torch.tensor([1.0, 2.0, 5.0, 0.5])
    step = multicrop(weight=weight)
    values, shares = by_loops(step, of_pair)
    assert 0 < shares[1] < 1
    assert values[2] == shares[2] == 0  # does not overlap, and does not count
    expected = (values[0] + 2 * values[1] + 0.5 * values[3]) / 3.5
    output = loss(step)
    assert output.total.item() == pytest.approx(expected, abs=1e-9)
    assert output.terms["overlap"].item() == pytest.approx((weight * torch.tensor(shares)).sum().item() / 8.5)


@both
def test_without_overlap_there_is_no_loss_and_no_gradient(loss) -> None:
    z = normal(2, 3, 5, 7, 7).requires_grad_()
    output = loss(siamese(*z, views=(view(*[LEFT] * 3), view(*[RIGHT] * 3))))
    output.total.backward()
    assert output.total == output.terms["overlap"] == 0
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros_like(z))


@both
def test_images_without_overlap_leave_the_mean_of_the_others(loss) -> None:
    z = normal(2, 4, 5, 3, 3)
    half = siamese(*z, views=(view(WHOLE, LEFT, WHOLE, LEFT), view(WHOLE, RIGHT, WHOLE, RIGHT)))
    others = siamese(*z[:, ::2], views=(view(WHOLE, WHOLE),) * 2)
    torch.testing.assert_close(loss(half).total, loss(others).total)
    assert loss(half).terms["overlap"] == 0.5


@both
def test_swapping_the_views_changes_nothing(loss) -> None:
    z, views = normal(2, 3, 5, 4, 4), (view(WHOLE, LEFT, WHOLE), view(RIGHT, WHOLE, LEFT, flipped=True))
    swapped = siamese(*z.flip(0), views=views[::-1])
    torch.testing.assert_close(loss(siamese(*z, views=views)).total, loss(swapped).total)


def test_agreement_of_all_pixels_is_worth_four() -> None:
    z = normal(3, 5, 7, 7)
    views = (view(*[WHOLE] * 3), view(*[WHOLE] * 3, flipped=True))
    assert PixPro()(siamese(z, 2 * z.flip(3), views=views)).total.item() == pytest.approx(-4, abs=1e-12)
    assert PixPro()(siamese(z, -z.flip(3), views=views)).total.item() == pytest.approx(4, abs=1e-12)


def test_equal_pixels_are_as_good_as_guessed() -> None:
    """One of the sixteen pixels is right."""
    z = torch.ones(2, 3, 5, 4, 4)
    loss = PixContrast(0.05)(siamese(*z, views=(view(*[WHOLE] * 3),) * 2))
    assert loss.total.item() == pytest.approx(torch.tensor(16.0).log().item())


def test_one_pixel_has_no_negatives() -> None:
    z = normal(2, 3, 5, 1, 1)
    assert PixContrast()(siamese(*z, views=(view(*[WHOLE] * 3),) * 2)).total == 0


def test_the_sharpest_propagation_leaves_the_consistency_of_pixels() -> None:
    views = (view(*[WHOLE] * 3), view(LEFT, WHOLE, WHOLE, flipped=True))
    z, k = normal(2, 3, 5, 4, 4), dict(enumerate(normal(2, 3, 5, 4, 4, seed=1)))
    sharp, plain = Propagation(5, gamma=1e6, layers=0), dict(enumerate(z))
    propagated = {v: sharp(x) for v, x in plain.items()}
    torch.testing.assert_close(
        PixPro()(Step.of(propagated, k, views=views)).total, PixPro()(Step.of(plain, k, views=views)).total
    )


def test_queries_are_trained_and_the_teacher_is_not() -> None:
    online = Encoder(Backbone("resnet_tiny", 16), DenseHead(128, 8, 4))
    teacher, predictor = EMA(online), Propagation(4)
    views = {0: view(WHOLE, LEFT, side=16), 1: view(LEFT, WHOLE, flipped=True, side=16)}
    q = {v: predictor(encoded.z) for v, encoded in online(views).items()}
    PixPro()(Step.of(q, teacher(views, {}), views=tuple(views.values()))).total.backward()
    assert all(p.grad is not None for p in (*online.parameters(), *predictor.parameters()))
    assert predictor.net[0].weight.grad.abs().sum() > 0
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())


@pytest.mark.parametrize("shape", [(4, 5), (4, 2, 5)])
@both
def test_what_is_no_map_is_refused(loss, shape) -> None:
    with pytest.raises(UserError, match="compares pixels, but the head gives no maps: choose head=dense"):
        loss(siamese(*normal(2, *shape)))


def test_named_heads_need_a_loss_each() -> None:
    named = {v: {"dense": normal(4, 5, 2, 2), "instance": normal(4, 5)} for v in (0, 1)}
    with pytest.raises(UserError, match=r"PixPro sees several heads \(dense, instance\)"):
        PixPro()(Step.of(named, named))


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (PixPro, {"radius": 0.0}, "radius=0.0 is how near positives lie"),
        (PixContrast, {"temperature": 0.0}, "temperature=0.0 divides the cosines"),
    ],
)
def test_impossible_options_are_refused(loss, options, message) -> None:
    with pytest.raises(UserError, match=message):
        loss(**options)
