"""Images by their numbers."""

import hashlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from ...ssl.core.draws import mix
from ..reading.bad_files import BadFiles
from ..reading.images import BadImage, ImageSet
from .request import Generator, Request


class Maker:
    """Makes images in the same batches in every run, since the last bits of an image depend on those beside it.

    Image i has the noise of (seed, i) and, if the generator makes variations, is one of original i modulo their
    number. Batches are always whole, so that nothing depends on how many images are asked for.

    Args:
        generator: what makes them.
        originals: of which the variations are.
        seed: of the set.
        batch_size: images that are made together.
        bad: where originals are named that cannot be read; they have no variations.
    """

    def __init__(self, generator: Generator, originals: ImageSet, seed: int, batch_size: int, bad: BadFiles) -> None:
        self.generator, self.originals, self.bad = generator, originals, bad
        self.seed, self.batch_size = seed, batch_size

    def __call__(self, part: range) -> Iterator[list[dict[str, Any]]]:
        """The rows of a part of the set, a batch at a time."""
        for first in range(part.start, part.stop, self.batch_size):
            requests = [r for number in range(first, first + self.batch_size) if (r := self._request(number))]
            made = zip(requests, self.generator(requests) if requests else [], strict=True)
            yield [self._row(request, image) for request, image in made if request.number in part]

    def _request(self, number: int) -> Request | None:
        """None where the original cannot be read."""
        seed = mix(self.seed, number)
        if self.generator.levels is None:
            return Request(number, seed)
        row = number % len(self.originals)
        try:
            return Request(number, seed, row, self.generator.levels[row], self.originals.read(row))
        except BadImage as error:
            self.bad.add([error])
            return None

    def _row(self, request: Request, image: UInt8[Tensor, "c h w"]) -> dict[str, Any]:
        png = _png(image)
        return {
            "image": png,
            "row": request.row,
            "noise_level": request.level,
            "model": self.generator.settings["model"],
            "steps": self.generator.settings["steps"],
            "seed": request.seed,
            "sha256": hashlib.sha256(png).hexdigest(),
        }


def _png(image: UInt8[Tensor, "c h w"]) -> bytes:
    file = BytesIO()
    to_pil_image(image).save(file, "PNG")
    return file.getvalue()
