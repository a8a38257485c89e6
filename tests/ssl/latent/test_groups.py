from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from sslab.datamodules.loading.groups import save
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Step
from sslab.ssl.latent.groups import Groups
from sslab.ssl.latent.queue import Queue
from sslab.ssl.losses.infonce import InfoNCE
from torch import Tensor


def groups(folder: Path, *group: int) -> Groups:
    save(torch.tensor(group), folder / "groups.npy")
    return Groups(str(folder / "groups.npy"), rows=len(group))


def step(z: Float[Tensor, "b d"], *row: int) -> Step:
    batch = Batch.of(torch.zeros(len(z), 3, 0, 0, dtype=torch.uint8), row=torch.tensor(row))
    return Step.of({0: z, 1: z.flip(1)}, {0: z, 1: z.flip(1)}, batch)


def noise(seed: int) -> Float[Tensor, "b d"]:
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_image_has_the_group_of_its_row(tmp_path: Path) -> None:
    part = groups(tmp_path, 5, 0, 2, 2, 7)
    assert part(step(noise(0), 4, 0, 3, 1)).group.tolist() == [7, 5, 2, 0]
    assert part.state_dict()["table"].tolist() == [5, 0, 2, 2, 7]


def test_one_group_is_what_a_step_has_without(tmp_path: Path) -> None:
    plain = step(noise(0), 0, 1, 2, 3)
    assert torch.equal(groups(tmp_path, 0, 0, 0, 0)(plain).group, plain.group)


def test_a_queue_keeps_groups_and_gives_no_negatives_of_others(tmp_path: Path) -> None:
    part, queue, loss = groups(tmp_path, *[0] * 4, *[1] * 4, *[0] * 4), Queue(16, (8,), views=[0]), InfoNCE()
    queue(part(step(noise(0), 0, 1, 2, 3)))
    queue(part(step(noise(1), 4, 5, 6, 7)))
    last = part(step(noise(2), 8, 9, 10, 11))
    offered = queue(last)
    assert offered.memory_group.tolist() == [0] * 4 + [1] * 4 + [-1] * 8
    own = slice(4)
    alone = {name: getattr(offered, name)[own] for name in ("memory", "memory_row", "memory_group", "memory_label")}
    assert torch.equal(loss(offered)[0], loss(offered._replace(**alone))[0])
    assert not torch.equal(loss(offered)[0], loss(last)[0])


def test_it_stands_before_a_queue(tmp_path: Path) -> None:
    part, queue = groups(tmp_path, 0, 0, 1, 1), Queue(16, (8,))
    with pytest.raises(UserError, match="put groups before queue"):
        part(queue(step(noise(0), 0, 1, 2, 3)))


def test_a_table_of_another_size_is_refused(tmp_path: Path) -> None:
    save(torch.zeros(9, dtype=torch.long), tmp_path / "groups.npy")
    with pytest.raises(UserError, match="holds the groups of 9 images, but there are 10 to train on"):
        Groups(str(tmp_path / "groups.npy"), rows=10)
