import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.latent.neighbours import Neighbours
from sslab.ssl.losses.infonce import InfoNCE
from torch import Tensor


def nearest(target: Tensor, group: int, memory: Tensor, groups: list[int]) -> Tensor:
    cosines = {i: torch.cosine_similarity(target, u, dim=0) for i, u in enumerate(memory) if groups[i] == group}
    return memory[max(cosines, key=lambda i: cosines[i])] if cosines else target


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_targets_become_the_nearest_of_their_group(data):
    images, places = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    q, k, memory = (torch.randn(n, 4, generator=draw, dtype=torch.float64) for n in (images, images, places))
    group = data.draw(st.lists(st.integers(0, 2), min_size=images, max_size=images))
    groups = data.draw(st.lists(st.integers(-1, 2), min_size=places, max_size=places))  # -1: not filled
    given = Step.of({0: q}, {0: q, 1: k}, group=torch.tensor(group), memory=memory, memory_group=torch.tensor(groups))
    given = given._replace(memory_row=torch.arange(places), memory_label=torch.zeros(places, dtype=torch.long))
    changed = Neighbours(chunk=data.draw(st.sampled_from([1, 8, 1000])))(given)
    for view, targets in given.k.items():
        expected = [nearest(t, g, memory, groups) for t, g in zip(targets, group, strict=True)]
        assert torch.equal(changed.k[view], torch.stack(expected))
    assert changed.q[0] is q


def test_the_memory_is_used_up_and_neighbours_are_constants(normal, step_of):
    q, k = normal(2, 4, 3).requires_grad_()
    given = step_of(q, k, normal(6, 3, seed=1).requires_grad_())
    changed = Neighbours()(given)
    assert changed.memory.shape == (0, 3)
    assert len(changed.memory_row) == len(changed.memory_group) == len(changed.memory_label) == 0
    assert not changed.k[1].requires_grad
    unfilled = given._replace(memory_group=torch.full((6,), -1))
    assert not Neighbours()(unfilled).k[1].requires_grad


def test_neighbours_that_are_the_targets_change_nothing(normal, step_of):
    q, k = normal(2, 6, 3)
    given = step_of(q, k, 3 * k)  # what counts is the angle
    plain = Step.of({0: q}, {1: k}, given.batch)
    loss = InfoNCE(0.1, negatives=["cross"])
    torch.testing.assert_close(loss(Neighbours()(given)).total, loss(plain).total, rtol=1e-12, atol=1e-12)


def test_without_a_queue_it_is_refused(normal):
    with pytest.raises(UserError, match="Neighbours works on the memory .* put a queue"):
        Neighbours()(Step.of({0: normal(2, 3)}, {1: normal(2, 3)}))
