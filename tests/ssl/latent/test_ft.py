import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.latent.ft import FeatureTransform, partners
from sslab.ssl.latent.queue import Queue
from sslab.ssl.losses.infonce import InfoNCE
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


@pytest.fixture
def step(normal, step_of) -> Step:
    return step_of(normal(5, 4).requires_grad_(), normal(5, 4, seed=1), normal(9, 4, seed=2), key=3)


def units(step: Step) -> tuple[Tensor, Tensor, Tensor]:
    return normalize(step.q[0], dim=1), normalize(step.k[1], dim=1), normalize(step.memory, dim=1)


def positive_weights(step: Step, changed: Step) -> Tensor:
    """The λ of every number, from q' - k = λ (q - k)."""
    q, k, _ = units(step)
    return (changed.q[0] - k) / (q - k)


def test_positives_move_apart_along_their_line(step):
    changed = FeatureTransform()(step)
    q, k, _ = units(step)
    weight = positive_weights(step, changed)[0, 0]
    assert 1 <= weight <= 2
    torch.testing.assert_close(changed.q[0], weight * q + (1 - weight) * k, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(changed.k[1], weight * k + (1 - weight) * q, rtol=1e-12, atol=1e-12)
    before, after = (q * k).sum(1), (changed.q[0] * changed.k[1]).sum(1)
    expected = 2 * weight * (1 - weight) + (weight**2 + (1 - weight) ** 2) * before
    torch.testing.assert_close(after, expected, rtol=1e-12, atol=1e-12)
    assert (after <= before).all()


def test_the_score_pulls_up_to_five_times_harder(step):
    changed = FeatureTransform()(step)
    q, k, _ = units(step)
    weight = positive_weights(step, changed)[0, 0].detach()
    plain = torch.autograd.grad((q * k).sum(), step.q[0])[0]
    ours = torch.autograd.grad((changed.q[0] * changed.k[1]).sum(), step.q[0])[0]
    torch.testing.assert_close(ours, (weight**2 + (1 - weight) ** 2) * plain, rtol=1e-12, atol=1e-12)


def test_the_loss_is_a_cross_entropy_of_what_was_transformed(step):
    changed = FeatureTransform()(step)
    assert changed.norms_matter
    logits = torch.cat([(changed.q[0] * changed.k[1]).sum(1, keepdim=True), changed.q[0] @ changed.memory.T], dim=1)
    expected = cross_entropy(logits / 0.2, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(InfoNCE(0.2, negatives=[])(changed).total, expected, rtol=1e-12, atol=1e-12)


def test_with_both_sides_kept_it_is_moco_bit_for_bit(step):
    loss, kept = InfoNCE(0.2, negatives=[]), FeatureTransform(positives="keep", negatives="keep")
    values = [loss(s).total for s in (kept(step), step)]
    gradients = [torch.autograd.grad(value, step.q[0])[0] for value in values]
    assert torch.equal(*values)
    assert torch.equal(*gradients)


def test_before_its_first_epoch_it_is_moco_bit_for_bit(step):
    unchanged = FeatureTransform(from_epoch=1, epochs=2.0)(step._replace(progress=0.49))
    assert not unchanged.norms_matter
    assert unchanged.q[0] is step.q[0]
    assert unchanged.memory is step.memory


@settings(deadline=None, max_examples=30)
@given(key=st.integers(0, 2**63 - 1))
def test_one_weight_mixes_every_negative_with_another(key):
    memory = torch.eye(7, dtype=torch.float64)
    known = {"memory_row": torch.arange(7), "memory_label": torch.arange(7), "memory_group": torch.zeros(7).long()}
    z = torch.ones(2, 7, dtype=torch.float64)
    changed = FeatureTransform(positives="keep")(Step.of({0: z}, {1: z}, memory=memory, key=key, **known)).memory
    torch.testing.assert_close(changed.sum(0), torch.ones(7).double())  # each is the partner of one
    torch.testing.assert_close(changed.sum(1), torch.ones(7).double())
    weights = {round(x, 9) for x in changed.diagonal().tolist()} - {1.0}  # 1: its own partner
    assert len(weights) <= 1


def test_a_partner_is_of_the_same_group_and_any_of_it():
    group = torch.tensor([0, -1, 0, 1, 0, 1, -1, 0])
    seen = [set() for _ in group]
    for seed in range(200):
        partner = partners(group, seed)
        assert partner.sort().values.tolist() == list(range(8))
        assert torch.equal(group[partner], group)
        for place, other in enumerate(partner.tolist()):
            seen[place].add(other)
    for place, others in enumerate(seen):
        assert others == {i for i in range(8) if group[i] == group[place]}


def test_places_not_filled_yet_stay_apart(step):
    group = torch.tensor([0, 0, 0, 0, 0, 0, -1, -1, -1])
    memory = torch.where(group[:, None] < 0, torch.nan, step.memory)
    for dimensions in ("none", "both"):
        changed = FeatureTransform(dimensions=dimensions)(step._replace(memory=memory, memory_group=group))
        assert changed.memory[:6].isfinite().all()
        assert changed.memory_group is group


def test_negatives_that_are_their_own_partners_stay(step):
    alone = step._replace(memory_group=torch.arange(9))
    torch.testing.assert_close(FeatureTransform()(alone).memory, units(step)[2], rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(
    ("dimensions", "positives", "negatives"),
    [("none", False, False), ("positive", True, False), ("negative", False, True), ("both", True, True)],
)
def test_dimensions_gives_every_number_a_weight_of_its_own(step, dimensions, positives, negatives):
    places = torch.arange(9)
    memory = {"memory": torch.eye(9).double()[:, :4], "memory_row": places, "memory_group": torch.zeros_like(places)}
    changed = FeatureTransform(dimensions=dimensions)(step._replace(**memory))
    weights = positive_weights(step, changed).detach()
    assert ((weights >= 1 - 1e-9) & (weights <= 2 + 1e-9)).all()
    assert (len(weights.round(decimals=6).unique()) == weights.numel()) == positives
    mixed = changed.memory[:4].diagonal()
    mixed = mixed[mixed < 1]  # 1: its own partner
    assert len(mixed) > 1
    assert (len(mixed.round(decimals=6).unique()) > 1) == negatives


def test_the_mean_extrapolation_is_one_and_a_half(step):
    scalar = torch.stack([positive_weights(step, FeatureTransform()(step._replace(key=i)))[0, 0] for i in range(400)])
    assert abs(scalar.mean() - 1.5) < 5 * (0.05 / 400) ** 0.5  # Beta(2, 2) has variance 1/20
    assert abs(scalar.var() - 0.05) < 0.015


def test_interpolated_positives_are_easier(step):
    changed = FeatureTransform(positives="interpolate")(step)
    q, k, _ = units(step)
    weights = positive_weights(step, changed)
    assert ((weights > 0) & (weights < 1)).all()
    assert ((changed.q[0] * changed.k[1]).sum(1) >= (q * k).sum(1)).all()


def test_the_same_key_gives_the_same_and_another_another(step):
    part = FeatureTransform(dimensions="both")
    once, again, other = part(step), part(step), part(step._replace(key=4))
    assert torch.equal(once.memory, again.memory)
    assert torch.equal(once.q[0], again.q[0])
    assert not torch.isclose(once.memory, other.memory).all()


def test_the_queue_keeps_raw_targets(normal):
    queue, part = Queue(8, (4,), 4).double(), FeatureTransform()
    q, k = normal(4, 4), normal(4, 4, seed=1)
    for number in range(2):
        part(queue(Step.of({0: q}, {1: k}, key=number)))
    assert torch.equal(queue.z, torch.cat([k, k]))


def test_float32_stays_float32(step):
    half = step._replace(q={0: step.q[0].bfloat16()}, k={1: step.k[1].bfloat16()}, memory=step.memory.float())
    for dimensions in ("none", "both"):
        changed = FeatureTransform(dimensions=dimensions)(half)
        assert changed.q[0].dtype == changed.k[1].dtype == changed.memory.dtype == torch.float32


def test_what_cannot_work_is_refused(normal, step):
    z = normal(2, 3)
    with pytest.raises(UserError, match="FeatureTransform works on the memory"):
        FeatureTransform()(Step.of({0: z}, {1: z}))
    FeatureTransform(negatives="keep")(Step.of({0: z}, {1: z}))
    with pytest.raises(UserError, match=r"2 pairs of views .* online_views=\[0\] target_views=\[1\]"):
        FeatureTransform(from_epoch=1, epochs=2.0)(step._replace(q={0: z, 1: z}, k={0: z, 1: z}))
    with pytest.raises(UserError, match="positive_alpha=0.0"):
        FeatureTransform(positive_alpha=0.0)
