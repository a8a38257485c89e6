import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Step
from sslab.ssl.latent.queue import Queue
from sslab.ssl.losses.infonce import InfoNCE
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

DIM = 3


def step(number: int, images: int, views: int = 1, **known) -> Step:
    """Targets 100·number + 10·image + view, in every dimension."""
    value = 100.0 * number + 10.0 * torch.arange(images)[:, None].expand(-1, DIM)
    batch = Batch.of(
        torch.zeros(images, 3, 0, 0, dtype=torch.uint8),
        row=torch.arange(images) + images * number,
        label=torch.arange(images) % 2,
    )
    return Step.of({9: value.clone()}, {v: value + v for v in range(views)}, batch, **known)


def entries(number: int, images: int, views: list[int]) -> list[float]:
    return [100.0 * number + 10.0 * i + v for i in range(images) for v in views]


@settings(max_examples=30, deadline=None)
@given(images=st.integers(1, 4), views=st.integers(1, 3), batches=st.integers(1, 4), steps=st.integers(1, 9))
def test_the_memory_holds_the_latest_targets_of_earlier_steps(images, views, batches, steps):
    count = images * views
    queue = Queue(count * batches, (DIM,), images)
    expected = [0.0] * queue.size
    for number in range(steps):
        offered = queue(step(number, images, views))
        assert offered.memory[:, 0].tolist() == expected
        filled = min(number, batches) * count
        assert (offered.memory_group >= 0).tolist() == [place < filled for place in range(queue.size)]
        place = number % batches * count
        expected[place : place + count] = entries(number, images, list(range(views)))


def test_places_know_image_group_and_label():
    queue = Queue(8, (DIM,), 2)
    group = torch.tensor([7, 5])
    queue(step(0, 2, 2, group=group))
    offered = queue(step(1, 2, 2))
    assert offered.memory_row.tolist() == [0, 0, 1, 1, -1, -1, -1, -1]
    assert offered.memory_group.tolist() == [7, 7, 5, 5, -1, -1, -1, -1]
    assert offered.memory_label.tolist() == [0, 0, 1, 1, -1, -1, -1, -1]


def test_views_says_which_targets_are_kept():
    queue = Queue(4, (DIM,), 2, views=[2])
    queue(step(0, 2, 3))
    assert queue.z[:, 0].tolist() == [2.0, 12.0, 0.0, 0.0]
    with pytest.raises(UserError, match=r"views \[2\], but targets are of views \[0, 1\]"):
        queue(step(1, 2, 2))


def test_before_its_first_epoch_it_only_fills():
    queue = Queue(6, (DIM,), 2, from_epoch=3, epochs=10.0)
    early = step(0, 2, progress=0.29)
    assert queue(early) is early
    assert len(early.memory) == 0
    offered = queue(step(1, 2, progress=0.1 + 0.2))
    assert offered.memory[:, 0].tolist() == [0.0, 10.0, 0.0, 0.0, 0.0, 0.0]
    assert offered.memory_group.tolist() == [0, 0, -1, -1, -1, -1]


def test_it_adds_to_the_memory_that_is_there():
    once = Queue(4, (DIM,), 2)(step(0, 2))
    twice = Queue(2, (DIM,), 2)(once)
    assert twice.memory.shape == (6, DIM)
    assert len(twice.memory_row) == len(twice.memory_group) == len(twice.memory_label) == 6


def test_targets_are_kept_as_they_are_and_without_graph():
    weight = nn.Parameter(torch.full((DIM,), 2.0))
    given = step(1, 2)
    queue = Queue(4, (DIM,), 2)
    queue(given._replace(k={0: (given.k[0] * weight).bfloat16()}))
    assert queue.z.dtype == torch.float32
    assert queue.z[:, 0].tolist() == [200.0, 220.0, 0.0, 0.0]
    assert not queue.z.requires_grad


def test_the_loss_of_the_queue_is_a_cross_entropy_over_earlier_targets(normal):
    queue = Queue(12, (DIM,), 4).double()
    loss = InfoNCE(0.2, negatives=[])
    keys: list[Tensor] = []
    for number in range(6):
        q, k = normal(2, 4, DIM, seed=number)
        given = Step.of({0: q.requires_grad_()}, {1: k})
        given = queue(given._replace(row=given.row + 4 * number))
        value = loss(given).total
        value.backward()  # after the queue has moved on
        past = torch.cat(keys[-3:]) if keys else torch.empty(0, DIM, dtype=k.dtype)
        positive = (normalize(q, dim=1) * normalize(k, dim=1)).sum(1, keepdim=True)
        logits = torch.cat([positive, normalize(q, dim=1) @ normalize(past, dim=1).T], dim=1) / 0.2
        expected = cross_entropy(logits, torch.zeros(4, dtype=torch.long))
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
        keys.append(k)


def test_a_rehearsal_on_a_copy_leaves_no_trace():
    queue = Queue(4, (DIM,), 2)
    copy.deepcopy(queue)(step(1, 2))
    assert queue.cursor == 0
    assert (queue.group == -1).all()


def test_a_loaded_queue_continues_bit_for_bit(normal):
    def run(queue: Queue, numbers: range) -> Tensor:
        for number in numbers:
            given = Step.of({0: normal(2, DIM)}, {1: normal(2, DIM, seed=number)})
            memory = queue(given).memory
        return memory

    whole, first, second = (Queue(6, (DIM,), 2) for _ in range(3))
    expected = run(whole, range(7))
    run(first, range(4))
    second.load_state_dict(first.state_dict())
    assert torch.equal(run(second, range(4, 7)), expected)
    for name, buffer in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], buffer), name
    assert set(whole.state_dict()) == {"z", "row", "group", "label", "cursor"}


def test_a_queue_of_another_size_is_not_loaded():
    with pytest.raises(RuntimeError, match="size mismatch for z"):
        Queue(4, (DIM,), 2).load_state_dict(Queue(6, (DIM,), 2).state_dict())


def test_parts_of_batches_are_refused():
    with pytest.raises(UserError, match=r"size=1000 does not hold whole batches of 256 .* such as 1024"):
        Queue(1000, (DIM,), 256)
    with pytest.raises(UserError, match="whole batches of 512 targets"):
        Queue(768, (DIM,), 256, views=[0, 1])
    with pytest.raises(UserError, match="size=0"):
        Queue(0, (DIM,))
    with pytest.raises(UserError, match="size=6 does not hold whole batches of 4 targets"):
        Queue(6, (DIM,), 2)(step(0, 2, 2))


def test_an_epoch_needs_the_length_of_the_run():
    with pytest.raises(UserError, match="give epochs"):
        Queue(4, (DIM,), from_epoch=1)
