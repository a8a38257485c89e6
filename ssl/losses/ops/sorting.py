"""Sorting that can be differentiated: which ranks the inputs of a relaxed sorting network end up in."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def among_lowest(x: Float[Tensor, "n w"], count: int, steepness: float) -> Float[Tensor, "n w"]:
    """The probability of every input to be among the `count` lowest of its row.

    An odd-even network of w layers (Petersen et al. 2021), whose layer L compares the wires (L%2, L%2+1), (L%2+2,
    L%2+3), ... A comparator (Cauchy: Petersen et al. 2022) keeps its inputs a and b in place with probability g, and
    passes on the expectations:

        g = 1/2 + atan(steepness (b - a)) / π,    a, b <- g a + (1 - g) b, (1 - g) a + g b

    These steps M_L make the doubly stochastic matrix M_1 ... M_w of inputs and ranks. Only its product with the
    indicator of the lowest ranks is formed, from the last layer to the first: w² operations a row instead of w³.
    """
    wires = x.shape[1]
    gates = []
    for layer in range(wires):
        pair = compared(x, layer)
        gates.append(0.5 + torch.atan(steepness * (pair[..., 1] - pair[..., 0])) / math.pi)
        x = passed_on(x, gates[layer], layer)
    share = (torch.arange(wires, device=x.device) < count).to(x.dtype).expand_as(x)
    for layer in reversed(range(wires)):
        share = passed_on(share, gates[layer], layer)
    return share


def compared(x: Float[Tensor, "n w"], layer: int) -> Float[Tensor, "n c 2"]:
    """The wires that a layer compares, in pairs."""
    first = layer % 2
    count = (x.shape[1] - first) // 2
    return x[:, first : first + 2 * count].unflatten(1, (count, 2))


def passed_on(x: Float[Tensor, "n w"], gate: Float[Tensor, "n c"], layer: int) -> Float[Tensor, "n w"]:
    """Each pair exchanged with probability 1 - gate, and the wires beside the pairs as they are."""
    pair = compared(x, layer)
    mixed = torch.lerp(pair.flip(-1), pair, gate[..., None]).flatten(1)
    first = layer % 2
    return torch.cat([x[:, :first], mixed, x[:, first + mixed.shape[1] :]], dim=1)
