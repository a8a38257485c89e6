"""The embedded data set: ten shapes, and nuisances that have nothing to do with them."""

import hashlib
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...ssl.core.errors import UserError
from ..reading.images import ImageSet
from . import outlines, scenes, textures
from .render_cache import cached, user_cache

LOUDNESS = {"none": (0.0, 0.0), "mild": (0.1, 0.25), "strong": (0.2, 0.5)}  # of foreground and background
SIZES = range(8, 225)
FIRST_TEST = 1 << 32  # number of the first test image, beyond that of any training image
IN_MEMORY = 4 << 30  # bytes; the images of a larger set are rendered when they are read


class Shapes:
    """Images of ten shapes: the class is the shape, and texture, hue, place, scale and turn are independent of it.

    An image is a pure function of the seed and its number. Loud textures are a shortcut: they tell images apart so well
    that instance discrimination learns the background and not the shape.

    Args:
        size: side of the images in pixels.
        train: number of training images.
        test: number of test images, which stay the same when `train` changes.
        texture: how loud the textures are: none, mild or strong.
        seed: of the whole data set, test images included.
        cache: folder of rendered images; None: `sslab` in the user's cache.
    """

    def __init__(
        self,
        size: int = 32,
        train: int = 20000,
        test: int = 4000,
        texture: str = "none",
        seed: int = 0,
        cache: str | None = None,
    ) -> None:
        if size not in SIZES:
            raise UserError(f"data.size={size}: shapes are drawn at {SIZES[0]} to {SIZES[-1]} px")
        if texture not in LOUDNESS:
            raise UserError(f"data.texture={texture}: choose one of {', '.join(LOUDNESS)}")
        if not (0 < train <= FIRST_TEST and 0 < test <= FIRST_TEST):
            raise UserError(f"shapes: {train} training and {test} test images: ask for at least one of each")
        folder = Path(cache).expanduser() if cache else user_cache()
        self.train: ImageSet = Rendered(seed, 0, train, size, texture, folder)
        self.test: ImageSet | None = Rendered(seed, FIRST_TEST, test, size, texture, folder)


class Rendered:
    """The images `first` to `first + count`, rendered when they are first looked at and then kept in `folder`."""

    classes = tuple(outline.__name__ for outline in outlines.OUTLINES)
    factor_names = tuple(scenes.FACTORS)

    def __init__(self, seed: int, first: int, count: int, size: int, texture: str, folder: Path) -> None:
        self.scenes = scenes.draw(seed, torch.arange(first, first + count))
        self.label, self.factors = self.scenes.label(), self.scenes.factors()
        self.source = torch.zeros_like(self.label)
        self.size, self.loudness = size, LOUDNESS[texture]
        described = f"{seed} {first} {count} {size} {self.loudness} {_renderer()}"
        name = hashlib.sha256(described.encode()).hexdigest()[:16]
        self.file = folder / f"shapes_{count}x{size}px_{texture}_{name}.uint8"

    @property
    def stack(self) -> UInt8[Tensor, "n 3 H W"] | None:
        return self._images if 3 * self.size**2 * len(self) <= IN_MEMORY else None

    @cached_property
    def _images(self) -> UInt8[Tensor, "n 3 H W"]:
        shape = (len(self), 3, self.size, self.size)
        return cached(self.file, shape, lambda: scenes.render(self.scenes, self.size, *self.loudness))

    def __len__(self) -> int:
        return len(self.label)

    def read(self, row: int) -> UInt8[Tensor, "3 H W"]:
        if self.stack is not None:
            return self.stack[row]
        return scenes.render(self.scenes.rows(slice(row, row + 1)), self.size, *self.loudness)[0]

    def fingerprint(self) -> str:
        """Return a hash of what the images are drawn from."""
        return self.file.stem.rpartition("_")[2]


def _renderer() -> str:
    """Return a hash that tells one renderer from another: of its source."""
    files = [Path(str(module.__file__)) for module in (outlines, scenes, textures)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
