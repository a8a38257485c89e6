"""Agreement of the pixels of two views that show the same place."""

from jaxtyping import Bool, Float
from torch import Tensor

from .base.pixel_loss import PixelLoss, mean_positive


class PixPro(PixelLoss):
    """Pixel-to-propagation consistency (Xie et al. 2021).

    With A the pairs of a pixel i of one view and a pixel j of another that show nearly the same place:

        loss_ab = -2 mean_{ij in A} cos(q_i, k_j)

    summed over both directions, so that its least value is -4; for more than two views, twice the mean over all
    directions. Propagation is the predictor's (`predictor=propagation`); that targets carry no gradient is the
    teacher's affair. An image whose views do not overlap has no value, and the mean is over the others, where the
    official code counts it as 0.
    """

    def pair(self, similarity: Float[Tensor, "b n m"], positive: Bool[Tensor, "b n m"]) -> Float[Tensor, " b"]:
        return -4 * mean_positive(similarity, positive)
