from collections import Counter

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sslab.datamodules.loading.order import ClassBalanced, Order, Rows, Shuffled
from sslab.datamodules.loading.sampler import Batches
from sslab.ssl.core.draws import permutation
from sslab.ssl.core.errors import UserError

few = settings(max_examples=40, deadline=None)
labels = st.lists(st.integers(-1, 3), min_size=1, max_size=60)
sizes = st.tuples(st.integers(1, 4), st.integers(1, 5))


def rows(label: list[int]) -> Rows:
    """Every second row, as where others are held out."""
    return Rows(2 * torch.arange(len(label)), torch.tensor(label))


def classes(label: list[int]) -> set[int]:
    return set(label) - {-1}


@few
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**40))
def test_shuffled_is_one_permutation_cut_into_batches(size: int, batch: int, key: int) -> None:
    batches = Shuffled().batches(rows([0] * size), batch, key)
    assert batches.shape == (size // batch, batch)
    assert torch.equal(batches.flatten(), permutation(key, size)[: batches.numel()])


@few
@given(labels, sizes, st.integers(0, 2**40))
def test_every_batch_has_k_images_of_p_classes(label: list[int], size: tuple[int, int], key: int) -> None:
    p, k = size
    assume(len(classes(label)) >= p)
    order = ClassBalanced(p, k)
    assert isinstance(order, Order)
    batches = order.batches(rows(label), p * k, key)
    assert len(batches) == order.count(rows(label), p * k) == sum(x >= 0 for x in label) // (p * k)
    for batch in torch.tensor(label)[batches].tolist():
        assert -1 not in batch
        assert Counter(batch) == dict.fromkeys(set(batch), k)
        assert len(set(batch)) == p
        assert all(set(batch[i * p : (i + 1) * p]) == set(batch) for i in range(k))  # classes alternate


@few
@given(labels, sizes, st.integers(0, 2**40))
def test_a_class_repeats_no_row_before_it_has_dealt_out_all(label: list[int], size: tuple[int, int], key: int) -> None:
    p, k = size
    assume(len(classes(label)) >= p)
    drawn = ClassBalanced(p, k).batches(rows(label), p * k, key).flatten().tolist()
    for number in classes(label):
        times = Counter(position for position in drawn if label[position] == number)
        of_all = [times[position] for position, x in enumerate(label) if x == number]
        assert max(of_all) - min(of_all) <= 1


@few
@given(labels, st.integers(0, 99))
def test_it_is_a_function_of_the_key_alone(label: list[int], key: int) -> None:
    assume(len(classes(label)) >= 2)
    order, given_rows = ClassBalanced(2, 2), rows(label)
    assert torch.equal(order.batches(given_rows, 4, key), ClassBalanced(2, 2).batches(given_rows, 4, key))


def test_classes_come_equally_often_whatever_their_size_and_epochs_differ() -> None:
    label = [0] * 3000 + [1] * 800 + [2] * 150 + [3] * 50
    order = ClassBalanced(2, 4)
    first, second = (order.batches(rows(label), 8, key) for key in (1, 2))
    assert not torch.equal(first, second)
    counts = torch.tensor(label)[first].flatten().bincount()
    assert (counts - 1000).abs().max() < 200  # four standard deviations of 500 batches' choices
    assert len(set(first.flatten().tolist()) & set(range(3950, 4000))) == 50  # no row of the smallest is left out


def test_ranks_and_resumed_runs_see_the_same_batches() -> None:
    given_rows, order = rows([0, 1, 2, 3] * 12), ClassBalanced(4, 2)
    whole = [pick.choice.tolist() for pick in Batches(given_rows, 8, 0, order=order)]
    shares = [[p.choice.tolist() for p in Batches(given_rows, 8, 0, rank=r, world=2, order=order)] for r in (0, 1)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole
    resumed = Batches(given_rows, 8, 0, served=4, order=order)
    assert [pick.choice.tolist() for pick in resumed] == whole[4:]
    assert len(Batches(given_rows, 8, 0, accumulate=4, order=order)) == 4


@pytest.mark.parametrize(
    ("order", "label", "message"),
    [
        (ClassBalanced(3, 2), [0, 1, 2] * 9, "classes_per_batch=3 and per_class=2: .* product of data.batch_size=8"),
        (ClassBalanced(8, 1), [0, 1, 2] * 9, "batches of 8 classes, but there are 3: .* to 3 or less"),
        (ClassBalanced(4, 2), [-1] * 9, "batches of 4 classes, but this data set has no labels"),
    ],
)
def test_what_does_not_fit_is_refused(order: ClassBalanced, label: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Batches(rows(label), 8, 0, order=order)
