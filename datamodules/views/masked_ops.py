"""Operations on some images of a batch: a CPU leaves the others out; a GPU masks them, as asking would make it wait."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def on_chosen(
    x: Float[Tensor, "b 3 h w"], chosen: Bool[Tensor, " b"], operation: Callable[..., Tensor], *parameters: Tensor
) -> Float[Tensor, "b 3 h w"]:
    """`operation(images, *parameters)` on the chosen images with their rows of the parameters; may work in place."""
    if chosen.device.type != "cpu":
        return torch.where(chosen[:, None, None, None], operation(x, *parameters), x)
    rows = chosen.nonzero().flatten()
    if len(rows) == len(x):
        return operation(x, *parameters)
    if len(rows):
        x[rows] = operation(x.index_select(0, rows), *(parameter[rows] for parameter in parameters))
    return x


def in_use(chosen: Bool[Tensor, "b n"]) -> list[bool]:
    """Tell of each of n operations whether it may touch any image."""
    return chosen.any(0).tolist() if chosen.device.type == "cpu" else [True] * chosen.shape[1]
