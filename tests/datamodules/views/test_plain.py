import pytest
import torch
from jaxtyping import UInt8
from sslab.datamodules.views.plain import Plain
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch
from torch import Tensor
from torchvision.transforms import v2

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.mark.parametrize("size", [24, 40, 64])
def test_equals_torchvision(images: UInt8[Tensor, "24 3 40 52"], size: int) -> None:
    view = Plain(size, MEAN, STD)(Batch.of(images))[0]
    theirs = v2.Compose(
        [v2.Resize(size), v2.CenterCrop(size), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    torch.testing.assert_close(view.image, theirs(images))
    assert not view.flipped.any()


def test_photographs_are_resized_before_a_share_is_cropped(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    view = Plain(28, MEAN, STD, crop=0.875, interpolation="bicubic")(Batch.of(images))[0]
    theirs = v2.Compose(
        [
            v2.Resize(32, v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(28),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    torch.testing.assert_close(view.image, theirs(images))
    width = 52 * 32 / 40
    torch.testing.assert_close(view.box[0, 3] - view.box[0, 1], torch.tensor(0.875))
    torch.testing.assert_close(view.box[0, 2] - view.box[0, 0], torch.tensor(28 / int(width)))


def test_box_is_the_central_square(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    box = Plain(40, MEAN, STD)(Batch.of(images))[0].box
    torch.testing.assert_close(box, torch.tensor([[6 / 52, 0, 46 / 52, 1]]).expand(24, 4))


def test_an_image_of_the_size_is_only_normalised() -> None:
    images = torch.arange(3 * 64).view(1, 3, 8, 8).byte()
    view = Plain(8, MEAN, STD)(Batch.of(images))[0]
    back = view.image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    torch.testing.assert_close(back * 255, images.float())


def test_workers_take_the_same_crop(images: UInt8[Tensor, "24 3 40 52"]) -> None:
    source, batch = Plain(24, MEAN, STD, count=2), Batch.of(images)
    crops = [source.crop_one(image, key, 0) for image, key in zip(images, batch.key, strict=True)]
    crop = type(crops[0])(*map(torch.cat, zip(*crops, strict=True)))
    streamed = batch._replace(images=images.new_empty(24, 3, 0, 0), crops=(crop, crop))
    for a, b in zip(source(batch), source(streamed), strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.box, b.box)


def test_size_zero() -> None:
    with pytest.raises(UserError, match="views.size is 0: it must be at least 1"):
        Plain(0, MEAN, STD)
