import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.draws import keys, mix, uniforms
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.latent.mochi import STREAM, MoCHi, between
from sslab.ssl.losses.infonce import InfoNCE
from torch import Tensor
from torch.nn.functional import normalize


def loss_and_gradient(step: Step) -> tuple[Tensor, Tensor]:
    value = InfoNCE(0.2, negatives=[])(step).total
    return value.detach(), *torch.autograd.grad(value, step.q[0])


def test_the_equations(normal, step_of):
    """A loop over queries and mixtures, written from the paper."""
    q, k, memory = normal(5, 4), normal(5, 4, seed=1), normal(9, 4, seed=2)
    given = step_of(q, k, memory)
    hardest, s, t = 3, 4, 2
    hard = MoCHi(hardest, s, t, chunk=20)(given).hard[0]
    assert hard.shape == (5, s + t, 4)
    for i in range(5):
        query, offered = normalize(q[i], dim=0), normalize(memory, dim=1)
        offered = offered[(offered @ query).argsort(descending=True)][:hardest]
        u = uniforms(given.batch.key[i : i + 1], mix(STREAM, 0), 3 * s + 2 * t)[0].double()
        first, second, alpha, other, beta = u.split([s, s, s, t, t])
        for j in range(s):
            n = [offered[int(place[j] * hardest)] for place in (first, second)]
            expected = normalize(alpha[j] * n[0] + (1 - alpha[j]) * n[1], dim=0)
            torch.testing.assert_close(hard[i, j], expected, rtol=1e-12, atol=1e-12)
        for j in range(t):
            n, weight = offered[int(other[j] * hardest)], beta[j] / 2
            expected = normalize(weight * query + (1 - weight) * n, dim=0)
            torch.testing.assert_close(hard[i, s + j], expected, rtol=1e-12, atol=1e-12)


def test_without_mixtures_it_is_moco_bit_for_bit(normal, step_of):
    given = step_of(normal(5, 4).requires_grad_(), normal(5, 4, seed=1), normal(9, 4, seed=2))
    for ours, plain in zip(loss_and_gradient(MoCHi(4, 0, 0)(given)), loss_and_gradient(given), strict=True):
        assert torch.equal(ours, plain)


def test_before_its_first_epoch_it_is_moco_bit_for_bit(normal, step_of):
    given = step_of(normal(5, 4).requires_grad_(), normal(5, 4, seed=1), normal(9, 4, seed=2))
    part = MoCHi(4, 8, 8, from_epoch=10, epochs=200.0)
    assert part(given._replace(progress=0.0499)).hard == {}
    assert part(given._replace(progress=0.05)).hard[0].shape == (5, 16, 4)


def test_the_ends_of_a_mixture_are_its_parts(normal):
    one, other = normalize(normal(2, 3, 5, 4), dim=-1)
    torch.testing.assert_close(between(one, other, torch.ones(3, 5).double()), one, rtol=1e-15, atol=1e-15)
    torch.testing.assert_close(between(one, other, torch.zeros(3, 5).double()), other, rtol=1e-15, atol=1e-15)
    torch.testing.assert_close(between(one, one, normal(3, 5).sigmoid()), one, rtol=1e-15, atol=1e-15)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.5))
def test_what_is_mixed_with_the_query_is_harder(seed, beta):
    q, n = normalize(
        torch.randn(2, 1, 6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1
    )
    mixed = between(q, n, torch.full((1, 6), beta, dtype=torch.float64))
    assert ((q * mixed).sum(-1) >= (q * n).sum(-1) - 1e-12).all()


def test_the_hardest_alone_is_a_copy_of_it(normal, step_of):
    q, memory = normal(5, 4), normal(9, 4, seed=2)
    hard = MoCHi(1, 3, 0)(step_of(q, q, memory)).hard[0]
    unit = normalize(memory, dim=1)
    expected = unit[(normalize(q, dim=1) @ unit.T).argmax(dim=1)]
    torch.testing.assert_close(hard, expected[:, None].expand_as(hard), rtol=1e-12, atol=1e-12)


def test_the_loss_grows_and_the_mixtures_are_constants(normal, step_of):
    q = normal(5, 4).requires_grad_()
    given = step_of(q, normal(5, 4, seed=1), normal(9, 4, seed=2).requires_grad_())
    changed = MoCHi(4, 6, 2)(given)
    assert not changed.hard[0].requires_grad
    assert changed.memory is given.memory
    value, gradient = loss_and_gradient(changed)
    assert value > loss_and_gradient(given)[0]
    assert torch.autograd.gradcheck(lambda q: InfoNCE(0.2, negatives=[])(changed._replace(q={0: q})).total, q)
    assert gradient.isfinite().all()


def test_own_images_other_groups_and_empty_places_are_never_drawn(normal, step_of):
    q, memory = normal(4, 3), normal(9, 3, seed=2)
    row = torch.tensor([0, 1, 2, 3, 100, 101, 102, 103, -1])
    group = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, -1])
    given = step_of(q, q, memory, memory_row=row, memory_group=group, group=torch.tensor([0, 0, 0, 1]))
    for i in range(4):
        allowed = (row != i) & (group == given.group[i])
        spoilt = torch.where(allowed[:, None], memory, torch.nan)
        for hardest in (1, 3, 9):
            assert MoCHi(hardest, 50, 50)(given._replace(memory=spoilt)).hard[0][i].isfinite().all()


def test_a_query_without_negatives_gets_its_opposite_which_does_not_turn_it(normal, step_of):
    q = normal(4, 3).requires_grad_()
    empty = step_of(q, normal(4, 3, seed=1), torch.zeros(6, 3).double(), memory_group=torch.full((6,), -1))
    changed = MoCHi(4, 5, 2)(empty)
    torch.testing.assert_close(changed.hard[0], -normalize(q.detach(), dim=1)[:, None].expand(-1, 7, -1))
    # The denominator without negatives is the positive alone.
    gradient = torch.autograd.grad(InfoNCE(0.2, decouple=True, negatives=[])(changed).total, q)[0]
    expected = torch.autograd.grad(InfoNCE(0.2, decouple=True, negatives=[])(empty).total, q)[0]
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_more_than_there_are_is_uniform_over_the_queue(normal, step_of):
    places, mixtures = 8, 4000
    memory = torch.eye(places, dtype=torch.float64)
    hard = MoCHi(1024, mixtures, 0)(step_of(normal(2, places), normal(2, places), memory)).hard[0]
    parts = (hard > 0).double()  # 1/8 of the mixtures are of a place with itself
    share = parts.mean(dim=(0, 1))
    chance = 1 - (1 - 1 / places) ** 2
    assert (share - chance).abs().max() < 5 * (chance / (2 * mixtures)) ** 0.5
    assert abs((parts.sum(-1) == 1).double().mean() - 1 / places) < 5 * (1 / places / (2 * mixtures)) ** 0.5


def test_views_and_samples_draw_for_themselves(normal, step_of):
    q, memory = normal(4, 3), normal(9, 3, seed=2)
    given = step_of(q, q, memory)._replace(q={0: q, 1: q})
    part = MoCHi(9, 5, 2)
    hard = part(given).hard
    assert not torch.isclose(hard[0], hard[1]).all(-1).any(0).any()
    alone = given._replace(q={0: q[2:]}, row=given.row[2:], group=given.group[2:])
    alone = alone._replace(batch=given.batch._replace(key=keys(0, torch.arange(4))[2:]))
    assert torch.equal(part(alone).hard[0], hard[0][2:])


def test_it_adds_to_the_hard_negatives_that_are_there(normal, step_of):
    given = step_of(normal(4, 3), normal(4, 3), normal(9, 3, seed=2), hard={0: normal(4, 2, 3, seed=3)})
    hard = MoCHi(9, 5, 1)(given).hard[0]
    assert hard.shape == (4, 8, 3)
    assert torch.equal(hard[:, :2], given.hard[0])


def test_float32_stays_float32(normal, step_of):
    given = step_of(normal(4, 3).bfloat16(), normal(4, 3).bfloat16(), normal(9, 3).float())
    assert MoCHi(9, 5, 1)(given).hard[0].dtype == torch.float32


def test_what_cannot_work_is_refused(normal):
    with pytest.raises(UserError, match="MoCHi works on the memory .* put a queue"):
        MoCHi(from_epoch=10, epochs=200.0)(Step.of({0: normal(2, 3)}, {1: normal(2, 3)}))
    with pytest.raises(UserError, match="hardest=0"):
        MoCHi(hardest=0)
    with pytest.raises(UserError, match="mixed=-1"):
        MoCHi(mixed=-1)
