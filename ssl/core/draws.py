"""Random numbers as a pure function of integers: no generator, so no state to save and no order to keep."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15  # splitmix64: increment and the two multipliers of its finaliser
MULTIPLY = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
SHIFT = (30, 27, 31)
WORD = 1 << 64


def mix(*parts: int) -> int:
    """A 63-bit seed from any integers, such as (seed, epoch, position)."""
    state = 0
    for part in parts:
        state = _finalise(state ^ _finalise((part + GOLDEN) % WORD))
    return state >> 1


def keys(seed: int, position: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
    """One key per position, all of them independent."""
    return _finalise_tensor(position * _signed(GOLDEN) + _signed(seed % WORD))


def uniforms(key: Int[Tensor, " b"], stream: int, count: int) -> Float[Tensor, "b {count}"]:
    """`count` numbers in [0, 1) per key; another `stream` gives independent ones."""
    counter = torch.arange(1, count + 1, device=key.device) * _signed(GOLDEN) + _signed(mix(stream))
    bits = _finalise_tensor(key[:, None] + counter)  # (B, count)
    return ((bits >> 40) & 0xFFFFFF).float() / (1 << 24)


def beta(key: Int[Tensor, " b"], stream: int, count: int, alpha: float | int) -> Float[Tensor, "b {count}"]:
    """`count` numbers per key from Beta(alpha, alpha).

    With u and v uniform in [0, 1), for alpha > 1/2 (Ulrich 1984):

        x = 1/2 + 1/2 cos(2π v) √(1 - u^(2 / (2 alpha - 1)))

    and below, y being of Beta(alpha + 1, alpha + 1), as the ratio of two Gamma variates (Stuart 1962):

        logit x = logit y + (log(1 - u) - log(1 - v)) / alpha
    """
    u, v = (uniforms(key, mix(stream, i), count) for i in range(2))
    if alpha > 0.5:
        return 0.5 + 0.5 * torch.cos(2 * math.pi * v) * (1 - u ** (2 / (2 * alpha - 1))).sqrt()
    return torch.sigmoid(beta(key, mix(stream, 2), count, alpha + 1).logit() + ((-u).log1p() - (-v).log1p()) / alpha)


def permutation(seed: int, size: int) -> Int[Tensor, " {size}"]:
    """A random order of range(size), the same for the same seed."""
    return torch.argsort(keys(seed, torch.arange(size)), stable=True)


def _finalise(x: int) -> int:
    x = ((x ^ (x >> SHIFT[0])) * MULTIPLY[0]) % WORD
    x = ((x ^ (x >> SHIFT[1])) * MULTIPLY[1]) % WORD
    return x ^ (x >> SHIFT[2])


def _finalise_tensor(x: Tensor) -> Tensor:
    """The same on int64 tensors, whose products wrap around."""
    x = (x ^ _shift(x, SHIFT[0])) * _signed(MULTIPLY[0])
    x = (x ^ _shift(x, SHIFT[1])) * _signed(MULTIPLY[1])
    return x ^ _shift(x, SHIFT[2])


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: int64 alone would copy the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    return x - WORD if x >= WORD // 2 else x
