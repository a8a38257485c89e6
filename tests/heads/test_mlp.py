import torch
from sslab.heads.mlp import Predictor, Projector, mlp
from sslab.ssl.step import Features
from torch import nn


def features(pooled: torch.Tensor) -> Features:
    return Features(
        pooled, torch.zeros(len(pooled), pooled.shape[1], 1, 1), torch.zeros(len(pooled), 1, pooled.shape[1])
    )


def kinds(net: nn.Sequential) -> list[str]:
    return [type(m).__name__ for m in net]


def test_layers_norms_and_activations_stand_in_order() -> None:
    net = mlp(8, 16, 4, layers=3, norm="batch", last_norm="layer")
    assert kinds(net) == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "LayerNorm"]
    assert [(m.in_features, m.out_features) for m in net if isinstance(m, nn.Linear)] == [(8, 16), (16, 16), (16, 4)]


def test_a_bias_only_where_no_norm_follows() -> None:
    biases = [m.bias is not None for m in mlp(8, 16, 4, 2, "batch", "none") if isinstance(m, nn.Linear)]
    assert biases == [False, True]
    last = mlp(8, 16, 4, 2, "batch", "batch")[-1]
    assert isinstance(last, nn.BatchNorm1d)
    assert not last.affine
    layer = mlp(8, 16, 4, 2, "batch", "layer")[-1]
    assert isinstance(layer, nn.LayerNorm)
    assert layer.elementwise_affine


def test_a_projector_without_layers_is_the_pooled_features() -> None:
    pooled = torch.randn(4, 8)
    head = Projector(8, 0, 0, layers=0)
    assert head.dim == 8
    assert torch.equal(head(features(pooled)), pooled)


def test_a_projector_is_its_layers_written_out() -> None:
    head, pooled = Projector(8, 16, 4, layers=2, norm="none"), torch.randn(5, 8)
    first, _, second = head.net
    assert torch.allclose(head(features(pooled)), second(torch.relu(first(pooled))))
    assert head.dim == 4


def test_a_predictor_keeps_the_size_of_z() -> None:
    z = torch.randn(6, 5)
    assert Predictor(5, 32)(z).shape == (6, 5)
    assert torch.equal(Predictor(5, 0, layers=0)(z), z)
