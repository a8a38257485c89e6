from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Bool, Int
from sslab.datamodules.loading.groups import code, decode, join_small, load, save
from sslab.ssl.core.errors import UserError
from torch import Tensor

ROWS = 60
BASES, COUNTS, SEEDS = st.integers(1, 5), st.integers(1, 3), st.integers(0, 99)


def drawn(base: int, count: int, seed: int) -> list[Int[Tensor, " n"]]:
    """Clusterings of uneven sizes."""
    draw = torch.Generator().manual_seed(seed)
    return [(torch.rand(ROWS, generator=draw) ** 2 * base).long() for _ in range(count)]


def refines(fine: Int[Tensor, " n"], coarse: Int[Tensor, " n"]) -> bool:
    return all(len(coarse[fine == group].unique()) == 1 for group in fine.unique())


@given(BASES, COUNTS, SEEDS)
def test_a_code_is_a_bijection_of_the_clusters(base: int, count: int, seed: int) -> None:
    clusters = drawn(base, count, seed)
    y = code(clusters, base)
    assert torch.equal(torch.stack(decode(y, base, count)), torch.stack(clusters))
    assert y.max() < base**count
    assert refines(y, code(clusters[:-1], base) if count > 1 else torch.zeros_like(y))


def test_the_newest_cluster_is_the_last_digit() -> None:
    assert code([torch.tensor([1, 0]), torch.tensor([2, 3])], 10).tolist() == [12, 3]


@given(BASES, COUNTS, SEEDS, st.integers(1, 20), st.floats(0.4, 1))
def test_joined_groups_all_fill_a_batch_and_divide_those_before(
    base: int, count: int, seed: int, least: int, share: float
) -> None:
    clusters = drawn(base, count, seed)
    trainable = torch.rand(ROWS, generator=torch.Generator().manual_seed(seed)) < share
    group = join_small(clusters, base, trainable, least)
    assert group.unique().tolist() == list(range(int(group.max()) + 1))
    if trainable.sum() >= least:
        assert group[trainable].bincount(minlength=int(group.max()) + 1).min() >= least
    assert refines(code(clusters, base), group)
    if count > 1:
        assert refines(group, join_small(clusters[:-1], base, trainable, least))


@given(BASES, COUNTS, SEEDS)
def test_groups_that_are_large_enough_stay_as_they_are(base: int, count: int, seed: int) -> None:
    clusters = drawn(base, count, seed)
    y, group = code(clusters, base), join_small(clusters, base, everything(), least=1)
    assert refines(y, group)
    assert refines(group, y)


def everything() -> Bool[Tensor, " n"]:
    return torch.ones(ROWS, dtype=torch.bool)


def test_the_smallest_joins_the_next_smallest_of_its_own_group() -> None:
    first = torch.tensor([0] * 30 + [1] * 30)
    second = torch.tensor([0] * 4 + [1] * 5 + [2] * 21 + [0] * 15 + [1] * 15)
    group = join_small([first, second], 3, everything(), 8)
    assert group.bincount().tolist() == [9, 21, 15, 15]
    assert len(group[:9].unique()) == 1


def test_one_cluster_makes_one_group() -> None:
    clusters = [torch.zeros(ROWS, dtype=torch.long)] * 3
    assert code(clusters, 1).unique().tolist() == [0]
    assert join_small(clusters, 1, everything(), 8).unique().tolist() == [0]


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    group = torch.randint(9, (ROWS,), generator=torch.Generator().manual_seed(0))
    save(group, tmp_path / "groups.npy")
    assert torch.equal(load(tmp_path / "groups.npy"), group)
    assert [file.name for file in tmp_path.iterdir()] == ["groups.npy"]


@pytest.mark.parametrize(
    "content", [np.zeros((3, 2), dtype=int), np.zeros(3), np.array([0, -1]), np.array([{}])], ids=str
)
def test_files_of_anything_else_are_refused(tmp_path: Path, content: np.ndarray) -> None:
    np.save(tmp_path / "groups.npy", content, allow_pickle=True)
    with pytest.raises(UserError, match=r"groups\.npy"):
        load(tmp_path / "groups.npy")
    with pytest.raises(UserError, match="cannot read the groups in nowhere"):
        load(Path("nowhere.npy"))
