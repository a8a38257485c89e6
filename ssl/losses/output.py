"""What a loss returns, and the one place where per-sample values meet weights and ranks."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..distributed import total, world


class Output(NamedTuple):
    """A loss and what else to log, as one rank's shares: their means over ranks are the global values.

    `mean` is for losses with a value per sample, `whole` for those of the batch as a whole.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]  # detached

    @classmethod
    def mean(cls, weight: Float[Tensor, " n"], loss: Float[Tensor, " n"], **terms: Float[Tensor, " n"]) -> "Output":
        """The means over the global batch, Σ weight·value / Σ weight, of one value per sample."""
        weight = weight.to(loss.dtype)
        share = weight * (world() / total(weight.sum()).clamp_min(torch.finfo(weight.dtype).tiny))
        return cls((share * loss).sum(), {name: (share * value.detach()).sum() for name, value in terms.items()})

    @classmethod
    def average(cls, outputs: list["Output"]) -> "Output":
        """The mean of losses of one kind."""
        terms = {name: torch.stack([output.terms[name] for output in outputs]).mean() for name in outputs[0].terms}
        return cls(torch.stack([output.total for output in outputs]).mean(), terms)

    @classmethod
    def whole(cls, loss: Float[Tensor, ""], **terms: Float[Tensor, ""]) -> "Output":
        """Values that every rank has computed from the embeddings of all ranks."""
        return cls(loss, {name: value.detach() for name, value in terms.items()})
