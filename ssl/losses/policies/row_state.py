"""State that a loss keeps for every training image."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...core.distributed import gather
from ...core.errors import UserError


class RowState(nn.Module):
    """One float32 number for each of `rows` training images, the same on every rank."""

    def __init__(self, rows: int | None, start: float) -> None:
        super().__init__()
        if rows is None:
            raise UserError("rows=None: what is kept for every training image needs their number: give the loss `rows`")
        self.value = nn.Buffer(torch.full((rows,), start))

    def read(self, row: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return self.value[row].detach()

    def write(self, row: Int[Tensor, " n"], value: Float[Tensor, " n"]) -> None:
        """Values of this rank's images, on every rank; their mean for an image that is there more than once."""
        everywhere = gather(value.detach()).to(self.value)
        self.value.scatter_reduce_(0, gather(row), everywhere, "mean", include_self=False)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.get(f"{prefix}value", self.value)
        if saved.shape != self.value.shape:
            raise UserError(
                f"the checkpoint remembers {len(saved)} training images, the data set has {len(self.value)}: "
                "continue with the data of the first run, or start anew"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
