"""The calibration of a classifier: how much more often it says it is right than it is."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


def expected_calibration_error(
    logits: Float[Tensor, "n c"], label: Int[Tensor, " n"], bins: int = 15
) -> Float[Tensor, ""]:
    """Mean gap of confidence and accuracy over bins of the confidence, weighted by their sizes (Guo et al., 2017)."""
    from torchmetrics.functional.classification import multiclass_calibration_error  # slow to import

    return multiclass_calibration_error(logits.softmax(1), label, logits.shape[1], bins)


def temperature(logits: Float[Tensor, "n c"], label: Int[Tensor, " n"]) -> float:
    """The T with the lowest cross-entropy of logits / T; to be found on a part of train, not on test."""
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        return cross_entropy(logits.double() / torch.tensor(log_t).exp(), label).item()

    return torch.tensor(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x).exp().item()
