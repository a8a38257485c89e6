"""Random views of a batch, on its device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torchvision.transforms.v2.functional import solarize

from ...ssl.core.draws import beta, mix, uniforms
from ...ssl.core.errors import UserError
from ...ssl.core.step import Batch, Crop, View
from . import crop
from .blur import convolve, gaussian, kernel_side
from .colour import FACTOR
from .jitter import DRAWS, EARLY, jitter, random_jitter
from .masked_ops import on_chosen
from .resample import Interpolation, resample, resample_one
from .validate import check

Number = float | int
PerView = Number | Sequence[Number]
CROP, LOOK, PLACE = range(3)  # separate random numbers: workers draw no looks
CPU_CHUNK, GPU_CHUNK = 350_000, 2**26  # values of views worked on at a time: what a cache holds; what memory spares


class Draw(NamedTuple):
    """The operations on each image in a view, as drawn."""

    pixels: Int[Tensor, "b 4"]
    flipped: Bool[Tensor, " b"]
    blends: Float[Tensor, "b 7 3"]
    hue: Float[Tensor, " b"]
    blurred: Bool[Tensor, " b"]
    kernel: Float[Tensor, "b k"]
    solarised: Bool[Tensor, " b"]


@dataclass(frozen=True)
class Augment:
    """Random resized crop, flip, colour jitter, grey, blur, solarisation and normalisation (Chen et al. 2020).

    Distributions are torchvision's. A view is a pure function of the image, its key and the number of the view.
    A probability or strength is one number, or a list with one for each view in turn (Grill et al. 2020).

    Args:
        centre: share of the image's sides in whose middle the centres of crops lie; 1: anywhere.
        centre_alpha: their places there are of Beta(alpha, alpha): 1 is uniform, less suppresses the centre (Peng et
            al. 2022).
        jitter: probability of colour jitter; the strengths of its four parts follow.
        blur_kernel: side of the blur in pixels, odd; None: 3 of the largest sigmas on each side of the centre.
        shrink: by how much the side of the views is less than `size`, as that of multi-crop's small ones is.
        kind: global, or local, which are no targets unless `target_views` says so.
    """

    size: int
    mean: Sequence[Number]
    std: Sequence[Number]
    count: int = 2
    scale: Sequence[Number] = (0.08, 1.0)
    ratio: Sequence[Number] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"
    centre: PerView = 1.0
    centre_alpha: PerView = 1.0
    flip: PerView = 0.5
    jitter: PerView = 0.8
    brightness: PerView = 0.8
    contrast: PerView = 0.8
    saturation: PerView = 0.8
    hue: PerView = 0.2
    grey: PerView = 0.2
    blur: PerView = 0.5
    blur_sigma: Sequence[Number] = (0.1, 2.0)
    blur_kernel: int | None = None
    solarise: PerView = 0.0
    solarise_threshold: Number = 0.5
    shrink: int = 1
    kind: Literal["global", "local"] = "global"

    def __post_init__(self) -> None:
        check(self)
        if self.size % self.shrink:
            raise UserError(f"views.shrink is {self.shrink}: give a number that divides views.size, {self.size}")
        if self._blur_side not in range(1, 2 * self.side, 2):
            raise UserError(
                f"views.blur_kernel is {self.blur_kernel}: give an odd number below {2 * self.side}, "
                "twice views.size / views.shrink"
            )

    @property
    def side(self) -> int:
        """The side of the views, in pixels."""
        return self.size // self.shrink

    @property
    def sides(self) -> set[int]:
        """The sides of all views that it makes."""
        return {self.side}

    @property
    def targets(self) -> range:
        """The numbers of the views that are targets if nothing else is said."""
        return range(self.count if self.kind == "global" else 0)

    def __call__(self, batch: Batch) -> tuple[View, ...]:
        return self.some(batch, range(self.count))

    def some(self, batch: Batch, views: Sequence[int]) -> tuple[View, ...]:
        """The views with these numbers."""
        if batch.crops and len(batch.crops) != self.count:
            raise UserError(f"the batch holds {len(batch.crops)} crops of each image but views.count is {self.count}")
        images = torch.cat([batch.crops[view].image for view in views]) if batch.crops else batch.images
        boxes, draws = zip(*(self._draw(batch, view) for view in views), strict=True)
        draw = Draw(*map(torch.cat, zip(*draws, strict=True)))  # all views are rendered as one
        # Inference mode is quicker than no_grad; what is made inside it could not be trained on.
        rendered = torch.empty(len(draw.hue), 3, self.side, self.side, device=images.device)
        with torch.autocast(images.device.type, enabled=False), torch.inference_mode():
            self._render(images, draw, rendered)
        flipped = draw.flipped.chunk(len(views))
        return tuple(View(*parts, self.kind) for parts in zip(rendered.chunk(len(views)), boxes, flipped, strict=True))

    def crop_one(self, image: UInt8[Tensor, "3 H W"], key: Int[Tensor, ""], view: int) -> Crop:
        """The crop that view number `view` takes of one image of any size: for workers."""
        pixels, box = self._crop(image[None], key[None], view)
        return Crop(resample_one(image, pixels[0], self.side, self.interpolation)[None], box)

    def _crop(
        self, images: UInt8[Tensor, "b 3 H W"], key: Int[Tensor, " b"], view: int
    ) -> tuple[Int[Tensor, "b 4"], Float[Tensor, "b 4"]]:
        u, alpha = uniforms(key, mix(view, CROP), crop.DRAWS), _now(self.centre_alpha, view)
        if alpha != 1:
            u[:, -2:] = beta(key, mix(view, PLACE), 2, alpha)
        height, width = images.shape[2:]
        pixels = crop.random_crop(u, height, width, self.scale, self.ratio, _now(self.centre, view))
        return pixels, pixels / _sides(images)

    def _draw(self, batch: Batch, view: int) -> tuple[Float[Tensor, "b 4"], Draw]:
        now = partial(_now, view=view)
        if batch.crops:
            taken, box = batch.crops[view]
            pixels = (box.new_tensor([0, 0, 1, 1]) * _sides(taken)).long().expand(len(taken), 4)  # all of it
        else:
            pixels, box = self._crop(batch.images, batch.key, view)
        u = uniforms(batch.key, mix(view, LOOK), 4 + DRAWS)
        strength = [now(self.brightness), now(self.contrast), now(self.saturation), now(self.hue)]
        blends, hue = random_jitter(u[:, 4:], now(self.jitter), strength, now(self.grey))
        low, high = self.blur_sigma
        kernel = gaussian(low + (high - low) * u[:, 2], self._blur_side)
        chosen = u[:, [0, 1, 3]] < u.new_tensor([now(self.flip), now(self.blur), now(self.solarise)])
        return box, Draw(pixels, chosen[:, 0], blends, hue, chosen[:, 1], kernel, chosen[:, 2])

    def _render(self, images: UInt8[Tensor, "b 3 H W"], draw: Draw, out: Float[Tensor, "n 3 s s"]) -> None:
        """Fill `out`, a view for each draw; images that are fewer serve in turn."""
        mean, std = torch.tensor([self.mean, self.std], device=images.device)[:, :, None, None]
        for rows in self._chunks(draw):
            pixels, flipped, blends, hue, blurred, kernel, solarised = (field[rows] for field in draw)
            some = images.index_select(0, rows % len(images))
            x = resample(some, pixels, flipped, self.side, self.interpolation)
            x = jitter(x, blends, hue)
            if _ever(self.blur):
                x = on_chosen(x, blurred, convolve, kernel)
            if _ever(self.solarise):
                x = on_chosen(x, solarised, partial(solarize, threshold=self.solarise_threshold))
            out[rows] = x.sub_(mean).mul_(1 / std)

    def _chunks(self, draw: Draw) -> Iterator[Int[Tensor, " c"]]:
        """Rows to work on at a time; on a CPU those that take the same blends, so that the others are left out."""
        device, values = draw.hue.device, 3 * self.side**2
        rows = torch.arange(len(draw.hue), device=device)
        if device.type != "cpu":
            yield from rows.split(max(1, GPU_CHUNK // values))
            return
        early = (draw.blends[:, :EARLY, FACTOR] != 1).sum(1)
        early[draw.hue == 0] = -1
        for some in (rows[early == count] for count in range(-1, EARLY + 1)):
            if len(some):
                yield from some.tensor_split(min(len(some), ceil(len(some) * values / CPU_CHUNK)))

    @property
    def _blur_side(self) -> int:
        return kernel_side(self.blur_sigma[1], self.side) if self.blur_kernel is None else self.blur_kernel


def _now(setting: PerView, view: int) -> Number:
    return setting[view % len(setting)] if isinstance(setting, Sequence) else setting


def _ever(probability: PerView) -> bool:
    return max(probability) > 0 if isinstance(probability, Sequence) else probability > 0


def _sides(images: UInt8[Tensor, "b 3 H W"]) -> Int[Tensor, " 4"]:
    return torch.tensor(images.shape[:1:-1] * 2, device=images.device)  # width, height, width, height
