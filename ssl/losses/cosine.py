"""Agreement of two views without negatives."""

from jaxtyping import Float
from torch import Tensor

from .base.contrast import Contrast
from .base.pair_loss import PairLoss


class Cosine(PairLoss):
    """scale · (1 - s), with s the cosine of a query and its target, as a mean over pairs of views.

    BYOL (Grill et al. 2020, Eq. 2) sums 2 - 2s over the two directions: scale=4. SimSiam (Chen & He 2021, Eq. 1) has
    the mean of -s: scale=1, less the constant 1. That targets carry no gradient is the teacher's affair.
    """

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__()
        self.scale = scale

    def pair(self, contrast: Contrast) -> dict[str, Float[Tensor, " n"]]:
        similarity = contrast.similarity
        return {"loss": self.scale * (1 - similarity), "positive_similarity": similarity}
