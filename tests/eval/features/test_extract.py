import threading
from typing import Any

import pytest
import torch
from samples import images
from sslab.datamodules.reading.images import BadImage, Stack
from sslab.datamodules.views.plain import Plain
from sslab.eval.features.extract import Pixels, evaluating, extract
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Features
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.layers import Layered
from torch import Tensor, nn

CPU = torch.device("cpu")
VIEW = Plain(16, [0.5] * 3, [0.25] * 3)


class OneByOne:
    """The same images, read singly; some of several sizes, some broken."""

    stack = None

    def __init__(self, whole: Stack, sizes: dict[int, int] | None = None, broken: tuple[int, ...] = ()) -> None:
        self.whole, self.sizes, self.broken = whole, sizes or {}, broken
        self.label, self.factors, self.factor_names = whole.label, whole.factors, whole.factor_names
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.whole)

    def fingerprint(self) -> str:
        return self.whole.fingerprint()

    def read(self, row: int) -> Tensor:
        self.threads.add(threading.current_thread().name)
        if row in self.broken:
            raise OSError(f"row {row} is broken")
        image = self.whole.read(row)
        return image.repeat_interleave(self.sizes.get(row, 1), 1).repeat_interleave(self.sizes.get(row, 1), 2)


class Poisoned(nn.Module):
    """Features that are not finite where the image is black."""

    def forward(self, image: Tensor) -> Features:
        found = Pixels(2)(image)
        black = (image == image.min()).flatten(1).all(1)
        return found._replace(pooled=found.pooled.masked_fill(black[:, None], float("inf")))


class Louder(nn.Module):
    def forward(self, seen: Features) -> Features:
        return seen._replace(pooled=seen.pooled + 70_000)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone("resnet_tiny", 16).eval()


def test_equals_one_forward_pass_in_row_order(backbone):
    data = images(21)
    store = extract(backbone, data, VIEW, CPU, batch_size=8)
    with torch.no_grad():
        expected = backbone(VIEW(Batch.of(data.stack))[0].image).pooled
    torch.testing.assert_close(store.features.float(), expected, rtol=1e-3, atol=1e-5)
    assert store.row.tolist() == list(range(21))
    assert store.label.equal(data.label)
    assert store.factors.shape == (21, 0)
    assert store.meta == {"layer": "h", "precision": "32-true"}


def test_chosen_rows_in_their_order(backbone):
    data, rows = images(21), torch.tensor([7, 2, 20])
    whole, some = extract(backbone, data, VIEW, CPU), extract(backbone, data, VIEW, CPU, rows=rows)
    assert some.row.equal(rows)
    assert some.label.equal(data.label[rows])
    torch.testing.assert_close(some.features, whole.features[rows], rtol=2e-3, atol=1e-5)


def test_images_read_one_by_one_give_the_same(backbone):
    data = images(21)
    single = OneByOne(data)
    expected = extract(backbone, data, VIEW, CPU, batch_size=8)
    assert extract(backbone, single, VIEW, CPU, batch_size=8).features.equal(expected.features)
    assert "MainThread" not in single.threads


def test_images_of_several_sizes(backbone):
    data = OneByOne(images(9), sizes={1: 2, 5: 3})
    with torch.no_grad():
        expected = torch.cat([backbone(VIEW(Batch.of(data.read(row)[None]))[0].image).pooled for row in range(9)])
    torch.testing.assert_close(extract(backbone, data, VIEW, CPU).features.float(), expected, rtol=1e-3, atol=1e-5)


def test_unreadable_images_are_left_out_and_counted(backbone, caplog):
    data = images(9)
    store = extract(backbone, OneByOne(data, broken=(0, 1, 5)), VIEW, CPU, batch_size=2)
    assert store.row.tolist() == [2, 3, 4, 6, 7, 8]
    assert store.label.equal(data.label[store.row])
    assert len(store.features) == 6
    assert "3 of 9 images cannot be read: they are left out" in caplog.text
    with pytest.raises(UserError, match="none of the 2 images can be read"):
        extract(backbone, OneByOne(data, broken=(0, 1)), VIEW, CPU, rows=torch.tensor([0, 1]))


def test_what_datamodules_raise_is_what_extract_expects():
    assert issubclass(BadImage, OSError)


def test_modes_weights_and_random_state_are_left_alone():
    backbone: Any = Backbone("resnet_tiny", 16).train()
    backbone.trunk.bn1.eval()
    modes = [m.training for m in backbone.modules()]
    state = {k: v.clone() for k, v in backbone.state_dict().items()}
    random = torch.get_rng_state()
    first = extract(backbone, images(9), VIEW, CPU)
    assert [m.training for m in backbone.modules()] == modes
    assert all(v.equal(state[k]) for k, v in backbone.state_dict().items())
    assert torch.get_rng_state().equal(random)
    assert extract(backbone.eval(), images(9), VIEW, CPU).features.equal(first.features)


def test_modes_are_restored_after_a_failure():
    module = nn.Sequential(nn.Dropout(), nn.Linear(2, 2).eval())
    with pytest.raises(ZeroDivisionError), evaluating(module):
        1 / (any(m.training for m in module.modules()) + torch.is_grad_enabled())
    assert [m.training for m in module.modules()] == [True, True, False]
    assert torch.is_grad_enabled()


def test_features_are_kept_in_float16_whatever_they_are_computed_in(backbone):
    whole = extract(backbone, images(9), VIEW, CPU)
    half = extract(backbone, images(9), VIEW, CPU, precision="bf16-mixed")
    assert whole.features.dtype == half.features.dtype == torch.float16
    assert not half.features.equal(whole.features)
    assert half.features.equal(half.features.bfloat16().half())
    torch.testing.assert_close(half.features, whole.features, rtol=0.1, atol=0.05)


def test_features_that_are_not_finite_are_named():
    data = images(12)
    data.stack[[3, 7]] = 0
    with pytest.raises(UserError, match=r"features of rows 3, 7 are not finite, or above 65504"):
        extract(Poisoned(), data, VIEW, CPU)
    data.stack[:] = 0
    with pytest.raises(UserError, match=r"rows 0, 1, 2, 3, 4, 5, 6, 7, …"):
        extract(Poisoned(), data, VIEW, CPU)


def test_features_that_float16_cannot_hold_are_refused():
    with pytest.raises(UserError, match="above 65504"):
        extract(nn.Sequential(Pixels(2), Louder()), images(3), VIEW, CPU)


def test_layers_come_from_one_pass(backbone):
    layered = Layered(backbone)
    store = extract(layered, images(9), VIEW, CPU, layers=["h", "pool_2"])
    assert store.layers == ("h", "pool_2")
    assert store.features.equal(extract(backbone, images(9), VIEW, CPU).features)
    assert store.at("pool_2").features.equal(extract(layered, images(9), VIEW, CPU, layers=["pool_2"]).features)


def test_pixels_are_block_means():
    image = torch.arange(64.0).view(1, 1, 8, 8).expand(1, 3, 8, 8)
    small = Pixels(2)(image)
    assert small.pooled.tolist() == [[13.5, 17.5, 45.5, 49.5] * 3]
    assert small.dense.shape == (1, 3, 2, 2)
    assert small.tokens.shape == (1, 4, 3)
    assert Pixels(32)(image).pooled.equal(image.flatten(1))
