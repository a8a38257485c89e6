"""Contrast between the pixels of an image."""

from jaxtyping import Bool, Float
from torch import Tensor

from ..core.errors import UserError
from .base.pixel_loss import PixelLoss
from .ops.logsumexp import EMPTY


class PixContrast(PixelLoss):
    """Pixels that show the same place are positives, and all others of that view negatives (Xie et al. 2021).

    With A the pairs of a pixel i of one view and a pixel j of another that show nearly the same place, and s their
    cosines:

        loss_i = -log Σ_{j: ij in A} exp(s_ij / temperature) + log Σ_j exp(s_ij / temperature)

    as a mean over the pixels i that have a positive, over directions, and over images whose views overlap. No pixel
    meets those of another image.
    """

    def __init__(self, temperature: float = 0.3, radius: float = 0.7) -> None:
        super().__init__(radius)
        if temperature <= 0:
            raise UserError(f"temperature={temperature} divides the cosines: give it a value above 0")
        self.temperature = temperature

    def pair(self, similarity: Float[Tensor, "b n m"], positive: Bool[Tensor, "b n m"]) -> Float[Tensor, " b"]:
        logits, matched = similarity / self.temperature, positive.any(dim=2)
        # Finite where nothing is positive: of -inf alone, a log-sum-exp has no gradient.
        attraction = logits.masked_fill(~positive, EMPTY).logsumexp(dim=2)
        values = (logits.logsumexp(dim=2) - attraction).masked_fill(~matched, 0)
        return values.sum(dim=1) / matched.sum(dim=1).clamp_min(1)
