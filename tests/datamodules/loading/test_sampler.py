import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sslab.datamodules.loading.order import Rows
from sslab.datamodules.loading.sampler import Batches
from sslab.ssl.core.draws import keys, mix
from sslab.ssl.core.errors import UserError


def rows(size: int) -> Rows:
    """So many, without labels."""
    return Rows(torch.arange(size), torch.full((size,), -1))


def order(sampler: Batches) -> list[tuple[list[int], list[int]]]:
    return [(pick.choice.tolist(), pick.key.tolist()) for pick in sampler]


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 40), st.integers(0, 5), st.integers(0, 9))
def test_shares_of_the_ranks_make_up_the_global_batch(world: int, share: int, more: int, epoch: int, seed: int) -> None:
    batch = world * share
    samplers = [Batches(rows(batch + more), batch, seed, rank=rank, world=world) for rank in range(world)]
    alone = Batches(rows(batch + more), batch, seed)
    for sampler in (alone, *samplers):
        sampler.set_epoch(epoch)
    joined = [
        (sum((share for share, _ in parts), []), sum((key for _, key in parts), []))
        for parts in zip(*map(order, samplers), strict=True)
    ]
    assert joined == order(alone)


@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 3))
def test_an_epoch_has_every_row_at_most_once_and_drops_less_than_a_batch(size: int, batch: int, epoch: int) -> None:
    batch = min(size, batch)
    sampler = Batches(rows(size), batch, seed=0)
    sampler.set_epoch(epoch)
    seen = [row for share, _ in order(sampler) for row in share]
    assert len(seen) == len(sampler) * batch == size - size % batch
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(size))


def test_keys_are_those_of_the_positions() -> None:
    sampler = Batches(rows(10), 5, seed=3)
    sampler.set_epoch(2)
    found = [key for _, keys_ in order(sampler) for key in keys_]
    assert found == keys(mix(3, 2), torch.arange(10)).tolist()


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def epoch(seed: int, number: int) -> list[tuple[list[int], list[int]]]:
        sampler = Batches(rows(64), 16, seed)
        sampler.set_epoch(number)
        return order(sampler)

    assert epoch(0, 1) == epoch(0, 1)
    assert len({str(epoch(seed, number)) for seed in range(3) for number in range(3)}) == 9


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 13))
def test_a_resumed_sampler_goes_on_where_the_other_stopped(accumulate: int, batch: int, served: int) -> None:
    def epochs(sampler: Batches, first: int) -> list[tuple[list[int], list[int]]]:
        found = order(sampler)  # before the epoch is set, as Lightning does
        for number in range(first + 1, 6):
            sampler.set_epoch(number)
            found += order(sampler)
        return found

    size = 3 * accumulate * batch
    resumed = Batches(rows(size), batch, 0, accumulate, served)
    assert epochs(resumed, served // len(resumed)) == epochs(Batches(rows(size), batch, 0, accumulate), 0)[served:]


def test_an_epoch_holds_whole_accumulations() -> None:
    assert len(Batches(rows(70), 10, 0, accumulate=3)) == 6


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(UserError, match=r"a batch of 10 is not divisible among 4 ranks: set data.batch_size=8 or 12"):
        Batches(rows(100), 10, 0, world=4)
    with pytest.raises(UserError, match=r"a batch of 3 .* 4 ranks: set data.batch_size=4$"):
        Batches(rows(100), 3, 0, world=4)
    with pytest.raises(UserError, match=r"100 training images do not fill a batch of 101: set data.batch_size to 100"):
        Batches(rows(100), 101, 0)
    with pytest.raises(UserError, match=r"100 training images do not fill 4 batches of 30: .* to 25 or less"):
        Batches(rows(100), 30, 0, accumulate=4)
