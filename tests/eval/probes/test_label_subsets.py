import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslab.eval.probes.label_subsets import digest, number_of_each, share_of_all
from sslab.ssl.core.errors import UserError
from torch import Tensor


def labels(n: int, classes: int, seed: int = 0) -> Tensor:
    return torch.cat([torch.arange(classes).repeat(n // classes), torch.arange(n % classes)])[
        torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    ]


def counts(label: Tensor, rows: Tensor) -> Tensor:
    return label[rows].bincount(minlength=int(label.max()) + 1)


@pytest.mark.parametrize(("share", "published"), [(0.01, 12_811), (0.1, 128_116)])
def test_as_many_as_the_published_lists_of_imagenet(share, published):
    label = labels(1_281_167, 1000)
    rows = share_of_all(label, torch.arange(len(label)), share, seed=0)
    found = counts(label, rows)
    assert len(rows) == published
    assert found.max() - found.min() == 1


@settings(deadline=None)
@given(n=st.integers(50, 200), classes=st.integers(2, 5), small=st.floats(0.1, 0.5), more=st.floats(0, 0.4))
def test_a_smaller_share_is_part_of_a_larger(n, classes, small, more):
    label, row = labels(n, classes), torch.arange(n)
    few, many = (share_of_all(label, row, share, seed=1) for share in (small, small + more))
    assert torch.isin(few, many).all()


@settings(deadline=None)
@given(seed=st.integers(0, 99))
def test_order_of_the_images_changes_nothing(seed):
    label, row = labels(90, 4), 7 * torch.arange(90) + 2
    order = torch.randperm(90, generator=torch.Generator().manual_seed(seed))
    for choose in (lambda *images: share_of_all(*images, 0.3, 5), lambda *images: number_of_each(*images, 3, 5)):
        found = choose(label, row)
        assert found.equal(choose(label[order], row[order]))
        assert torch.isin(found, row).all()
        assert found.diff().min() > 0


def test_every_class_has_its_number_and_unlabelled_images_have_no_part():
    label = labels(100, 4)
    label[:30] = -1
    rows = number_of_each(label, torch.arange(100), 5, seed=0)
    assert label[rows].bincount().tolist() == [5] * 4


def test_draws_and_seeds_differ_and_repeat():
    label, row = labels(400, 4), torch.arange(400)
    names = [digest(number_of_each(label, row, 5, seed, draw)) for seed in range(2) for draw in range(3)]
    assert len(set(names)) == 6
    assert names[4] == digest(number_of_each(label, row, 5, 1, 1).flip(0))


def test_every_image_is_as_likely():
    label, row = torch.zeros(20, dtype=torch.long), torch.arange(20)
    found = torch.cat([number_of_each(label, row, 5, seed=0, draw=draw) for draw in range(800)]).bincount(minlength=20)
    assert (found - 200).abs().max() < 60  # five standard deviations


def test_a_small_class_gives_all_it_has():
    label = torch.tensor([0] * 97 + [1] * 3)
    assert counts(label, share_of_all(label, torch.arange(100), 0.2, seed=0)).tolist() == [10, 3]


def test_refusals():
    label, row = labels(40, 4), torch.arange(40)
    with pytest.raises(UserError, match=r"5\.00% of 40 labelled images are less than one of each of 4 classes"):
        share_of_all(label, row, 0.05, seed=0)
    with pytest.raises(UserError, match="11 images of each class: expected 1 to 10"):
        number_of_each(label, row, 11, seed=0)
    with pytest.raises(UserError, match="2 images of each class: expected 1 to 0"):
        number_of_each(torch.full((4,), -1), torch.arange(4), 2, seed=0)
