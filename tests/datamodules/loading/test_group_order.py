from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jaxtyping import Int
from sslab.datamodules.loading.group_order import Grouped
from sslab.datamodules.loading.groups import save
from sslab.datamodules.loading.order import Rows, Shuffled
from sslab.datamodules.loading.sampler import Batches
from sslab.ssl.core.errors import UserError
from torch import Tensor

BATCH = 4


def grouped(folder: Path, sizes: list[int]) -> tuple[Grouped, Int[Tensor, " n"]]:
    """An order of groups of these sizes, in no order, and the groups."""
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    group = group[torch.randperm(len(group), generator=torch.Generator().manual_seed(0))]
    save(group, folder / "groups.npy")
    return Grouped(str(folder / "groups.npy")), group


def rows(row: Int[Tensor, " n"]) -> Rows:
    return Rows(row, torch.full_like(row, -1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(2 * BATCH, 30), min_size=1, max_size=6), key=st.integers(0, 99))
def test_batches_are_pure_and_rows_come_once(tmp_path: Path, sizes: list[int], key: int) -> None:
    order, group = grouped(tmp_path, sizes)
    some = rows(torch.arange(len(group))[BATCH:])  # the first are held out
    batches = order.batches(some, BATCH, key)
    size = group[some.row].bincount()
    assert len(batches) == order.count(some, BATCH) == int((size // BATCH).sum())
    assert len(batches.unique()) == batches.numel()
    of_batch = group[some.row[batches]]
    assert (of_batch == of_batch[:, :1]).all()
    assert of_batch[:, 0].bincount().tolist() == (size // BATCH).tolist()


def test_every_row_is_drawn_in_some_epoch_and_groups_alternate(tmp_path: Path) -> None:
    order, group = grouped(tmp_path, [7, 9, 30])
    all_rows = rows(torch.arange(len(group)))
    epochs = [order.batches(all_rows, BATCH, key) for key in range(20)]
    assert len(torch.cat(epochs).unique()) == len(group)
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0], order.batches(all_rows, BATCH, 0))
    sequence = group[epochs[0][:, 0]]
    assert (sequence.diff() != 0).sum() > 2  # not one group after the other


def test_one_group_is_shuffled_like_any_epoch(tmp_path: Path) -> None:
    order, group = grouped(tmp_path, [30])
    all_rows = rows(torch.arange(len(group)))
    assert order.count(all_rows, BATCH) == Shuffled().count(all_rows, BATCH)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_all_ranks_are_in_the_same_group_at_a_step(tmp_path: Path, world: int) -> None:
    order, group = grouped(tmp_path, [9, 17, 12])
    all_rows = rows(torch.arange(len(group)))
    samplers = [Batches(all_rows, BATCH, 0, rank=r, world=world, order=order) for r in range(world)]
    for picks in zip(*samplers, strict=True):
        assert len(torch.cat([group[pick.choice] for pick in picks]).unique()) == 1


def test_what_would_never_be_drawn_is_refused(tmp_path: Path) -> None:
    order, group = grouped(tmp_path, [3, 2, 30])
    with pytest.raises(UserError, match=r"2 of 3 groups .* fill a batch of 4, so their 5 images .* to 2 or less"):
        order.count(rows(torch.arange(len(group))), BATCH)
    with pytest.raises(UserError, match=r"holds the groups of 35 images, but there are 40 or more"):
        order.count(rows(torch.arange(40)), BATCH)
