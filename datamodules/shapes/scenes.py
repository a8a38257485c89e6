"""One shape before a background: what chance decides, and how it becomes pixels."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from kornia.color import hsv_to_rgb
from torch import Tensor

from ...ssl.core.draws import keys, uniforms
from .outlines import OUTLINES
from .textures import TEXTURES

Plane = Float[Tensor, "#b h w"]  # one for all images, or one each
Function = Callable[[Plane, Plane], Plane]

# Number of values of each factor; what is continuous is labelled by its bin.
FACTORS = {
    "foreground_texture": len(TEXTURES),
    "background_texture": len(TEXTURES),
    "foreground_hue": 8,
    "background_hue": 8,
    "position": 9,
    "scale": 4,
    "rotation": 8,
    "polarity": 2,  # light before dark, or dark before light
}
OFFSET = 0.3  # of the shape's centre from the image's, at most; the image reaches from -1 to 1
RADIUS = (0.35, 0.7)  # of the circle around the shape
LIGHT, DARK, SATURATION = 0.95, 0.4, 0.7  # no texture darkens LIGHT to DARK, so the shape is always seen
CYCLES = (1.5, 4.0)  # of a texture between -1 and 1
CHUNK = 1 << 19  # pixels drawn at a time: what stays in a processor's cache


class Scenes(NamedTuple):
    """The properties that differ between images: numbers in [0, 1), all independent."""

    shape: Float[Tensor, " n"]
    foreground_texture: Float[Tensor, " n"]
    background_texture: Float[Tensor, " n"]
    foreground_hue: Float[Tensor, " n"]
    background_hue: Float[Tensor, " n"]
    x: Float[Tensor, " n"]
    y: Float[Tensor, " n"]
    scale: Float[Tensor, " n"]
    rotation: Float[Tensor, " n"]
    polarity: Float[Tensor, " n"]
    foreground_weave: Float[Tensor, "n 4"]  # direction, frequency and phases of the texture
    background_weave: Float[Tensor, "n 4"]

    def rows(self, rows: Int[Tensor, " m"] | slice) -> "Scenes":
        return self._make(numbers[rows] for numbers in self)

    def label(self) -> Int[Tensor, " n"]:
        return _bin(self.shape, len(OUTLINES))

    def factors(self) -> Int[Tensor, "n f"]:
        position = 3 * _bin(self.y, 3) + _bin(self.x, 3)
        return torch.stack([position if k == "position" else _bin(getattr(self, k), n) for k, n in FACTORS.items()], 1)


def draw(seed: int, index: Int[Tensor, " n"]) -> Scenes:
    """The scenes with these numbers; each depends on the seed and its own number alone."""
    key = keys(seed, index)
    return Scenes(*uniforms(key, 0, 10).unbind(1), *uniforms(key, 1, 8).split(4, 1))


def render(scenes: Scenes, size: int, foreground: float, background: float) -> UInt8[Tensor, "n 3 {size} {size}"]:
    """The images. Textures darken the foreground and the background by up to these shares."""
    images = torch.empty(len(scenes.shape), 3, size, size, dtype=torch.uint8)
    for rows in torch.arange(len(images)).split(max(1, CHUNK // size**2)):
        images[rows] = (_paint(scenes.rows(rows), size, foreground, background) * 255).round().byte()
    return images


def _paint(scenes: Scenes, size: int, foreground: float, background: float) -> Float[Tensor, "b 3 {size} {size}"]:
    side = (torch.arange(size) + 0.5) * 2 / size - 1
    y, x = (axis[None] for axis in torch.meshgrid(-side, side, indexing="ij"))
    light = (scenes.polarity < 0.5).float()
    shape = _colour(scenes.foreground_hue, light)
    shape = shape * _shade(scenes.foreground_texture, scenes.foreground_weave, foreground, x, y)
    ground = _colour(scenes.background_hue, 1 - light)
    ground = ground * _shade(scenes.background_texture, scenes.background_weave, background, x, y)
    return torch.lerp(ground, shape, _cover(scenes, x, y)[:, None])


def _cover(scenes: Scenes, x: Plane, y: Plane) -> Float[Tensor, "b h w"]:
    """Return the shape's share of each pixel, from the distance of its centre to the outline."""
    right, up, scale, turn = (u[:, None, None] for u in (scenes.x, scenes.y, scenes.scale, scenes.rotation))
    radius = RADIUS[0] * (RADIUS[1] / RADIUS[0]) ** scale
    x, y = _turn((x - OFFSET * (2 * right - 1)) / radius, (y - OFFSET * (2 * up - 1)) / radius, turn)
    distance = _choose(OUTLINES, scenes.label(), x, y) * radius
    return (0.5 - distance * x.shape[-1] / 2).clamp(0, 1)


def _colour(hue: Float[Tensor, " b"], light: Float[Tensor, " b"]) -> Float[Tensor, "b 3 1 1"]:
    value = DARK + (LIGHT - DARK) * light
    hsv = torch.stack([2 * math.pi * hue, torch.full_like(hue, SATURATION), value], 1)
    return hsv_to_rgb(hsv[:, :, None, None])


def _shade(
    texture: Float[Tensor, " b"], weave: Float[Tensor, "b 4"], loudness: float, x: Plane, y: Plane
) -> Float[Tensor, "b 1 _ _"]:
    """Brightness of a texture, from 1 - loudness to 1."""
    if loudness == 0:
        return torch.ones(len(weave), 1, 1, 1)
    direction, frequency, *phases = weave[:, :, None, None].unbind(1)
    pace = math.pi * (CYCLES[0] + (CYCLES[1] - CYCLES[0]) * frequency)
    x, y = _turn(x, y, direction)
    x, y = (pace * axis + 2 * math.pi * phase for axis, phase in zip((x, y), phases, strict=True))
    pattern = _choose(TEXTURES, _bin(texture, len(TEXTURES)), x, y)
    return 1 - loudness * (1 - pattern)[:, None] / 2


def _turn(x: Plane, y: Plane, turn: Float[Tensor, "b 1 1"]) -> tuple[Plane, Plane]:
    """The coordinates of what stands turned by this part of a circle."""
    cos, sin = torch.cos(2 * math.pi * turn), torch.sin(2 * math.pi * turn)
    return cos * x + sin * y, cos * y - sin * x


def _choose(functions: Sequence[Function], which: Int[Tensor, " b"], x: Plane, y: Plane) -> Plane:
    """The function of each image on its coordinates."""
    value = torch.empty_like(x)
    for number, function in enumerate(functions):
        rows = (which == number).nonzero()[:, 0]
        value[rows] = function(x[rows], y[rows])
    return value


def _bin(draws: Float[Tensor, " n"], count: int) -> Int[Tensor, " n"]:
    return (draws * count).long()
