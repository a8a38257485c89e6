import pytest
import torch
from sslab.heads.mlp import LastNorm, Predictor, Projector, mlp
from sslab.ssl.core.step import Features
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


@pytest.mark.parametrize(("last_norm", "parameters"), [("batch", 0), ("batch_scale", 1), ("batch_affine", 2)])
def test_a_last_batch_norm_has_the_affine_part_that_its_name_says(last_norm: LastNorm, parameters: int) -> None:
    torch.manual_seed(0)
    net, x = mlp(8, 16, 4, 2, "batch", last_norm), torch.randn(32, 8)
    learned = [p for p in net[-1].parameters() if p.requires_grad]
    assert len(learned) == parameters
    z = net[:-1](x).double()
    expected = (z - z.mean(dim=0)) / (z.var(dim=0, correction=0) + 1e-5).sqrt()
    for value, parameter in zip((3.0, -2.0), learned, strict=False):  # a scale, then a shift
        nn.init.constant_(parameter, value)
    expected = expected * (3 if parameters else 1) - (2 if parameters == 2 else 0)
    torch.testing.assert_close(net(x).double(), expected, rtol=1e-4, atol=1e-4)


def test_a_scale_without_shift_keeps_its_mean_when_it_is_trained() -> None:
    torch.manual_seed(0)
    net, x = mlp(8, 16, 4, 2, "batch", "batch_scale"), torch.randn(32, 8)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    (net(x) - 1).square().sum().backward()
    optimiser.step()
    torch.testing.assert_close(net(x).mean(dim=0), torch.zeros(4), rtol=0, atol=1e-5)


def test_the_activation_between_layers_is_the_one_that_is_named() -> None:
    net, x = mlp(8, 16, 4, 3, "none", "none", "gelu"), torch.randn(5, 8)
    assert kinds(net) == ["Linear", "GELU"] * 2 + ["Linear"]
    z = x.double()
    for layer in (m for m in net if isinstance(m, nn.Linear)):
        z = z @ layer.weight.double().T + layer.bias.double()
        z = z * (1 + (z / 2**0.5).erf()) / 2 if layer is not net[-1] else z
    torch.testing.assert_close(net(x).double(), z, rtol=1e-5, atol=1e-5)


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
