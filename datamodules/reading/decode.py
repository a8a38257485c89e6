"""Any file that Pillow reads, as an 8-bit RGB tensor."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .images import BadImage

# What Pillow's decoders raise on damaged input; anything else is a fault of ours and must be seen.
DAMAGED = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)


def decode(
    name: str, content: Path | bytes, held: int | None = None, enough: int | None = None
) -> UInt8[Tensor, "3 H W"]:
    """The image as it is meant to be seen: upright, on white where it is transparent, of full range.

    Args:
        name: what a `BadImage` is called.
        content: a file, or the bytes of one.
        held: shorter side to resize to, before a central square is cut out.
        enough: a JPEG may be decoded at half, a quarter or an eighth of its size while both sides keep this length.
    """
    try:
        with Image.open(BytesIO(content) if isinstance(content, bytes) else content) as image:
            if least := held or enough:
                image.draft(None, (least, least))
            ImageOps.exif_transpose(image, in_place=True)
            rgb = _rgb(image)
    except UnidentifiedImageError as error:  # whose text has an address in memory, another one every time
        raise BadImage(name, "UnidentifiedImageError: in no format that Pillow knows") from error
    except DAMAGED as error:
        raise BadImage(name, f"{type(error).__name__}: {error}") from error
    if held:
        rgb = ImageOps.fit(rgb, (held, held), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _eight_bit(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey levels of 16 bits by their full range; wider ones, which have none that is agreed on, by the image's own."""
    values = np.asarray(image).astype(np.float64)
    low, high = (0.0, 65535.0) if image.mode != "F" else (values.min(), values.max())
    if values.min() < low or values.max() > high:
        low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        raise ValueError("pixels that are not finite")
    return Image.fromarray(np.rint((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))
