"""The limits of a view source's settings."""

from collections.abc import Sequence
from math import inf
from typing import Any

from ...ssl.core.errors import UserError
from .resample import KERNELS

LIMITS = {
    "size": (1, inf),
    "count": (1, inf),
    "shrink": (1, inf),
    "scale": (0, 1),
    "ratio": (0.01, 100),
    "crop": (0.01, 1),
    "centre": (0, 1),
    "centre_alpha": (0.01, inf),
    "flip": (0, 1),
    "jitter": (0, 1),
    "brightness": (0, inf),
    "contrast": (0, inf),
    "saturation": (0, inf),
    "hue": (0, 0.5),
    "grey": (0, 1),
    "blur": (0, 1),
    "blur_sigma": (0.01, 100),
    "solarise": (0, 1),
    "solarise_threshold": (0, 1),
    "mean": (-inf, inf),
    "std": (1e-6, inf),
}
CHOICES = {"interpolation": tuple(KERNELS), "kind": ("global", "local")}
LENGTH = {"scale": 2, "ratio": 2, "blur_sigma": 2, "mean": 3, "std": 3}
INTERVALS = ("scale", "ratio", "blur_sigma")


def check(source: Any) -> None:
    """Refuse a view source with a setting that is out of its limits, of the wrong length, reversed or no choice."""
    for name in CHOICES.keys() & set(dir(source)):
        value = getattr(source, name)
        if value not in CHOICES[name]:
            raise UserError(f"views.{name} is {value}: give {' or '.join(CHOICES[name])}")
    for name in LIMITS.keys() & set(dir(source)):
        value = getattr(source, name)
        numbers = value if isinstance(value, Sequence) else [value]
        low, high = LIMITS[name]
        if not numbers or not all(low <= number <= high for number in numbers):
            need = f"lie between {low} and {high}" if high < inf else f"be at least {low}"
            raise UserError(f"views.{name} is {value}: it must {need}")
        if len(numbers) != LENGTH.get(name, len(numbers)):
            raise UserError(f"views.{name} is {value}: give {LENGTH[name]} numbers")
        if name in INTERVALS and numbers[0] > numbers[1]:
            raise UserError(f"views.{name} is {value}: give the smaller number first")
