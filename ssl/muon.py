"""Parameter groups of Muon: what moves by an orthogonal matrix, and what by AdamW."""

from typing import Any

from torch import Tensor

STACKED_RATE = 0.05  # of AdamW relative to Muon's, for weights that are no matrices of a layer


def muon_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, each split by how its parameters move.

    Muon (Jordan et al. 2024) takes matrices and, as a matrix of one row per output channel, convolutions: weights of
    layers in the encoder and the predictor, and prototypes. AdamW takes the rest, norms and biases at the group's own
    rate, and tokens, positions, depthwise filters and the stacked matrices of `head=multi` at a twentieth of it, since
    their entries are small beside those of norms.
    """
    return [
        {**group, **settings, "params": chosen}
        for group in groups
        for kind, settings in (
            ("matrix", {"use_fallback": False}),
            ("vector", {"use_fallback": True}),
            ("stacked", {"use_fallback": True, "fallback_lr_scale": STACKED_RATE}),
        )
        if (chosen := [parameter for parameter in group["params"] if _kind(parameter) == kind])
    ]


def _kind(parameter: Tensor) -> str:
    if parameter.ndim <= 1:
        return "vector"
    layer = parameter.ndim in (2, 4) and parameter.shape[1] > 1  # a depthwise filter has one input channel
    return "matrix" if layer and min(parameter.flatten(1).shape) > 1 else "stacked"
