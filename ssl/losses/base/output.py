"""The result of a loss, and the one place where per-sample values meet weights and ranks."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.distributed import gather, total, world

EXTREMES = ("_min", "_max")


class Output(NamedTuple):
    """A loss and what else to log, as one rank's shares: their means over ranks are the global values.

    `mean` is for losses with a value per sample, `whole` for those of the batch as a whole. Terms are means, but for
    those named *_min and *_max, the least and the largest among samples, pairs of views, heads and ranks.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]  # detached

    @classmethod
    def mean(cls, weight: Float[Tensor, " n"], loss: Float[Tensor, " n"], **terms: Float[Tensor, " n"]) -> "Output":
        """The means over the global batch, Σ weight·value / Σ weight, of one value per sample."""
        weight = weight.to(loss.dtype)
        share = weight / total(weight.sum()).clamp_min(torch.finfo(weight.dtype).tiny) * world()  # 0 if all weights are

        def over_batch(name: str, value: Tensor) -> Tensor:
            if name.endswith(EXTREMES):
                return combined(name, gather(combined(name, value)[None]))
            return (share * value).sum()

        return cls((share * loss).sum(), {name: over_batch(name, value.detach()) for name, value in terms.items()})

    @classmethod
    def average(cls, outputs: list["Output"]) -> "Output":
        """The mean of losses of one kind."""
        terms = {name: combined(name, torch.stack([o.terms[name] for o in outputs])) for name in outputs[0].terms}
        return cls(torch.stack([output.total for output in outputs]).mean(), terms)

    @classmethod
    def whole(cls, loss: Float[Tensor, ""], **terms: Float[Tensor, ""]) -> "Output":
        """Values that every rank has computed from the embeddings of all ranks."""
        return cls(loss, {name: value.detach() for name, value in terms.items()})


def combined(name: str, values: Float[Tensor, "s *shape"]) -> Float[Tensor, "*shape"]:
    """Their mean, or by its name the least or the largest."""
    if name.endswith(EXTREMES):
        return values.amin(dim=0) if name.endswith("_min") else values.amax(dim=0)
    return values.mean(dim=0)
