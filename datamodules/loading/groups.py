"""Groups of training images: the code of several clusterings, the joining of small groups, and the file they are in."""

import heapq
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...ssl.core.errors import UserError


def code(clusters: Sequence[Int[Tensor, " n"]], base: int) -> Int[Tensor, " n"]:
    """One number, y = Σ_s a_s base^(j - 1 - s), for the clusters a_0 … a_{j-1} (MCL; Zhang et al. 2024)."""
    y = torch.zeros_like(clusters[0])
    for digit in clusters:
        y = y * base + digit
    return y


def decode(y: Int[Tensor, " n"], base: int, count: int) -> list[Int[Tensor, " n"]]:
    """The `count` clusters of which `y` is the code."""
    return [y // base**place % base for place in reversed(range(count))]


def join_small(
    clusters: Sequence[Int[Tensor, " n"]], base: int, trainable: Bool[Tensor, " n"], least: int
) -> Int[Tensor, " n"]:
    """One group for each code, numbered from 0, but none of fewer than `least` trainable rows.

    Clustering by clustering, every group divides into its clusters; as long as one of these is too small, the smallest
    of them joins the next smallest. So each group is a part of one group of the clusterings before the last.
    """
    group = torch.zeros_like(clusters[0])
    for cluster in clusters:
        finer, place = code([group, cluster], base).unique(return_inverse=True)
        size = place[trainable].bincount(minlength=len(finer)).tolist()
        families = groupby(range(len(finer)), key=(finer // base).tolist().__getitem__)
        parts = [part for _, family in families for part in _joined([(size[i], [i]) for i in family], least)]
        number = torch.empty_like(finer)
        for i, part in enumerate(parts):
            number[part] = i
        group = number[place]
    return group


def _joined(sized: list[tuple[int, list[int]]], least: int) -> list[list[int]]:
    """The same members, but the smallest joined until none is too small or all are one."""
    heapq.heapify(sized)
    while len(sized) > 1 and sized[0][0] < least:
        (a, some), (b, others) = heapq.heappop(sized), heapq.heappop(sized)
        heapq.heappush(sized, (a + b, some + others))
    return [members for _, members in sorted(sized)]


def save(group: Int[Tensor, " n"], file: Path) -> None:
    """Whole or not at all."""
    draft = file.with_name(file.name + ".tmp")
    with draft.open("wb") as out:
        np.save(out, group.numpy())
    os.replace(draft, file)


def load(file: Path) -> Int[Tensor, " n"]:
    """The group of every training row, from a file of `numpy.save`."""
    try:
        group = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the groups in {file} ({error}): expected what numpy.save writes") from None
    if group.ndim != 1 or group.dtype.kind not in "iu" or (group < 0).any():
        raise UserError(
            f"{file} holds {group.dtype} of shape {group.shape}: expected one integer from 0 for every training image"
        )
    return torch.from_numpy(group.astype(np.int64))
