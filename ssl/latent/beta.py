"""Symmetric Beta variates as a pure function of integers."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..draws import mix, uniforms


def beta(key: Int[Tensor, " n"], stream: int, count: int, alpha: float) -> Float[Tensor, "n {count}"]:
    """`count` numbers per key from Beta(alpha, alpha), alpha > 1/2 (Ulrich 1984).

    With u and v uniform in [0, 1):  1/2 + 1/2 cos(2π v) √(1 - u^(2 / (2 alpha - 1)))
    """
    u, v = (uniforms(key, mix(stream, i), count) for i in range(2))
    return 0.5 + 0.5 * torch.cos(2 * math.pi * v) * (1 - u ** (2 / (2 * alpha - 1))).sqrt()
