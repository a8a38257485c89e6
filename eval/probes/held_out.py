"""The held-out part of train, where probes choose their settings, so that test is read once."""

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from ...ssl.core.draws import mix, permutation
from ..features.store import FeatureStore

SPLIT = 1  # keeps this use of a seed apart from others
Variant = Literal["clean", "published"]


def held_out(size: int, seed: int) -> tuple[Int[Tensor, " h"], Int[Tensor, " r"]]:
    """A tenth of the rows 0 to size, and the rest."""
    chosen, rest = permutation(mix(seed, SPLIT), size).tensor_split([max(1, size // 10)])
    return chosen, rest


def split(
    train: FeatureStore, test: FeatureStore, seed: int, variant: Variant
) -> tuple[Int[Tensor, " r"], FeatureStore]:
    """The rows of train on which candidates are trained, and the images by which they are judged.

    `clean`: a tenth of train judges, and the rest trains. `published`: all of train trains and test judges, as it is
    often done; the number that comes of it is too good by what the choice has learnt of test.
    """
    if variant == "published":
        return torch.arange(len(train.label)), test
    chosen, rest = held_out(len(train.label), seed)
    return rest, train.take(chosen)
