from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.contact_sheet import COLOURS, GAP, HEIGHT, ROWS, sheet
from sslab.datamodules.views.plain import Plain
from sslab.ssl.core.step import Batch
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def read(path: Path) -> UInt8[Tensor, "3 h w"]:
    with Image.open(path) as image:
        return pil_to_tensor(image)


def test_a_row_for_each_image(images: UInt8[Tensor, "24 3 40 52"], tmp_path: Path) -> None:
    source, batch = Augment(24, MEAN, STD, count=3), Batch.of(images)
    sheet(batch, source(batch), MEAN, STD, tmp_path / "views.png")
    page = read(tmp_path / "views.png")
    original = round(52 * HEIGHT / 40)
    assert page.shape == (3, ROWS * (HEIGHT + 2 * GAP), original + 3 * HEIGHT + 4 * 2 * GAP)


def test_pictures_are_denormalised_and_framed(tmp_path: Path) -> None:
    images = torch.arange(2 * 3, dtype=torch.uint8).view(2, 3, 1, 1).mul(40).expand(2, 3, HEIGHT, HEIGHT)
    batch = Batch.of(images)
    sheet(batch, Plain(HEIGHT, MEAN, STD)(batch), MEAN, STD, tmp_path / "views.png")
    page = read(tmp_path / "views.png")
    for row in range(2):
        middle = row * (HEIGHT + 2 * GAP) + GAP + HEIGHT // 2
        view = HEIGHT + 3 * GAP
        assert page[:, middle, GAP + HEIGHT // 2].tolist() == images[row, :, 0, 0].tolist()
        assert page[:, middle, view + HEIGHT // 2].tolist() == images[row, :, 0, 0].tolist()
        assert tuple(page[:, middle, GAP].tolist()) == COLOURS[0]  # the crop is the whole image
        assert tuple(page[:, middle, view].tolist()) == COLOURS[0]
        assert page[:, middle, 0].tolist() == [255, 255, 255]


def test_partners_stand_beside_the_originals_with_the_crops_that_are_of_them(tmp_path: Path) -> None:
    images = torch.full((2, 3, HEIGHT, HEIGHT), 40, dtype=torch.uint8)
    batch = Batch.of(images, partner=torch.full((2, 3, 2 * HEIGHT, HEIGHT), 200, dtype=torch.uint8))
    views = Plain(HEIGHT, MEAN, STD, count=2)(batch)
    shown = torch.tensor([1, -1])
    sheet(batch, views, MEAN, STD, tmp_path / "views.png", shown, ["level 300", ""])
    page = read(tmp_path / "views.png")
    step, original, partner = HEIGHT + 2 * GAP, GAP, HEIGHT + 3 * GAP
    assert page.shape[2] == 3 * step + HEIGHT // 2 + 2 * GAP
    for row, (on_original, on_partner) in enumerate([(COLOURS[0], COLOURS[1]), (COLOURS[1], (200, 200, 200))]):
        middle = row * step + GAP + HEIGHT // 2
        assert tuple(page[:, middle, original].tolist()) == on_original  # of two crops the latter is drawn on top
        assert tuple(page[:, middle, partner].tolist()) == on_partner
        assert page[:, middle, partner + HEIGHT // 4].tolist() == [200] * 3
    captions = [page[:, row * step + GAP : row * step + GAP + 20, partner + 4 : partner + 40] for row in range(2)]
    assert [bool((caption == 0).any()) for caption in captions] == [True, False]


def test_without_originals(images: UInt8[Tensor, "24 3 40 52"], tmp_path: Path) -> None:
    source, batch = Plain(24, MEAN, STD), Batch.of(images)
    views = source(batch)
    streamed = batch._replace(images=images.new_empty(24, 3, 0, 0))
    sheet(streamed, views, MEAN, STD, tmp_path / "views.png")
    page = read(tmp_path / "views.png")
    assert page[:, GAP + HEIGHT // 2, GAP + HEIGHT // 2].tolist() == [128, 128, 128]
