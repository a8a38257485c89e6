from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sslab.datamodules.reading.decode import decode
from sslab.datamodules.reading.images import BadImage


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(image: Image.Image, kind: str = "PNG", **options: object) -> list[int]:
    """The top left pixel after a round trip through a file."""
    decoded = decode("image", encoded(image, kind, **options))
    assert decoded.dtype == torch.uint8
    assert decoded.shape == (3, image.height, image.width)
    return decoded[:, 0, 0].tolist()


def test_rgb_is_kept() -> None:
    values = torch.arange(3 * 4 * 5, dtype=torch.uint8).view(4, 5, 3)
    assert decode("image", encoded(Image.fromarray(values.numpy()))).equal(values.permute(2, 0, 1))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, [255, 255, 255]),
        ("L", 77, [77, 77, 77]),
        ("LA", (50, 0), [255, 255, 255]),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("RGBA", (10, 20, 30, 0), [255, 255, 255]),
        ("RGBA", (0, 0, 0, 51), [204, 204, 204]),  # a fifth of black on white
    ],
)
def test_modes_of_png(mode: str, colour: int | tuple[int, ...], expected: list[int]) -> None:
    assert pixel(Image.new(mode, (3, 2), colour)) == expected


def test_palette() -> None:
    image = Image.new("RGB", (3, 2), (200, 10, 60)).quantize(4)
    assert image.mode == "P"
    assert pixel(image) == [200, 10, 60]


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    assert pixel(image) == [9, 9, 9]
    assert pixel(image, transparency=1) == [255, 255, 255]


def test_cmyk() -> None:
    assert pixel(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "TIFF") == [0, 0, 0]
    assert pixel(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF") == [255, 0, 0]


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (257, 1), (32896, 128), (65535, 255)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(value: int, expected: int, kind: str) -> None:
    image = Image.fromarray(np.full((2, 3), value, np.uint16))
    assert image.mode.startswith("I;16")
    assert pixel(image, kind) == [expected] * 3


def test_wider_levels_use_their_own_range() -> None:
    for values in (np.array([[-2.0, 0.0, 2.0]], np.float32), np.array([[0, 500_000, 1_000_000]], np.int32)):
        decoded = decode("image", encoded(Image.fromarray(values), "TIFF"))
        assert decoded[0, 0].tolist() == [0, 128, 255]


def test_levels_that_are_not_finite_are_bad() -> None:
    with pytest.raises(BadImage, match="not finite"):
        decode("image", encoded(Image.fromarray(np.array([[np.nan, 1]], np.float32)), "TIFF"))


def test_exif_orientation_is_honoured() -> None:
    image = Image.new("RGB", (16, 8), "black")
    image.paste("white", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    decoded = decode("image", encoded(image, "JPEG", exif=exif, quality=100))
    assert decoded.shape == (3, 16, 8)
    assert decoded[:, :8].min() > 250
    assert decoded[:, 8:].max() < 5


def test_one_pixel() -> None:
    assert pixel(Image.new("RGB", (1, 1), (1, 2, 3))) == [1, 2, 3]
    assert decode("image", encoded(Image.new("RGB", (1, 1), (1, 2, 3))), held=4).shape == (3, 4, 4)


def test_held_images_are_the_resized_centre() -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (10, 0, 30, 20))
    decoded = decode("image", encoded(image), held=10)
    assert decoded.shape == (3, 10, 10)
    assert decoded[2, :, 1:9].min() > 250  # no red but at the seam
    assert decoded[0, :, 1:9].max() < 5


def test_a_jpeg_is_decoded_no_smaller_than_enough() -> None:
    content = encoded(Image.new("RGB", (400, 200)), "JPEG")
    assert decode("image", content).shape == (3, 200, 400)
    assert decode("image", content, enough=90).shape == (3, 100, 200)
    assert decode("image", content, enough=300).shape == (3, 200, 400)


@pytest.mark.filterwarnings("ignore:(Possibly c|C)orrupt EXIF data")  # Pillow, before it gives up on a TIFF
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_damage_is_reported_with_the_name(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    path = tmp_path / "image"
    for damaged in (b"", content[: len(content) // 2], content[:20], b"no image" * 100):
        path.write_bytes(damaged)
        for source in (damaged, path):
            with pytest.raises(BadImage) as caught:
                decode("the name", source)
            assert caught.value.name == "the name"
            assert caught.value.reason


def test_a_missing_file_is_bad(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="FileNotFoundError"):
        decode("gone", tmp_path / "gone.png")
