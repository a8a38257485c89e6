"""The part of train on which probes choose their settings, so that test is read once."""

from jaxtyping import Int
from torch import Tensor

from ..ssl.draws import mix, permutation

SPLIT = 1  # keeps this use of a seed apart from others


def held_out(size: int, seed: int) -> tuple[Int[Tensor, " h"], Int[Tensor, " r"]]:
    """A tenth of the rows 0 to size, and the rest."""
    chosen, rest = permutation(mix(seed, SPLIT), size).tensor_split([max(1, size // 10)])
    return chosen, rest
