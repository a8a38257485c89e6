import pytest
import torch
from sslab.heads.multi import MultiHead, MultiLinear, MultiPredictor
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Features
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn


def features(pooled: Tensor) -> Features:
    return Features(pooled, pooled[:, :, None, None], pooled[:, None])


def alone(net: nn.Module, head: int) -> nn.Sequential:
    """One head of several as a stack of its own."""
    stack: list[nn.Module] = []
    for layer in net.net.net:
        if isinstance(layer, MultiLinear):
            _, in_dim, dim = layer.weight.shape
            linear = nn.Linear(in_dim, dim).to(layer.weight.dtype)
            linear.weight, linear.bias = (
                nn.Parameter(x.detach().clone()) for x in (layer.weight[head].T, layer.bias.view(-1, dim)[head])
            )
            layer = linear
        stack.append(layer)
    return nn.Sequential(*stack)


@pytest.mark.parametrize("own", [False, True])
def test_every_head_is_a_stack_of_its_own(own: bool) -> None:
    """In value and in every gradient."""
    torch.manual_seed(0)
    net = MultiPredictor(6, 16, 3).double()
    z = torch.randn(5, 3, 6, dtype=torch.float64) if own else torch.randn(5, 6, dtype=torch.float64)
    z.requires_grad_()
    together = net(z)
    together.square().sum().backward()
    gradient, z.grad = z.grad, None
    for head in range(3):
        stack = alone(net, head)
        q = stack(z[:, head] if own else z)
        q.square().sum().backward()
        torch.testing.assert_close(q, together[:, head])
        for layer, single in zip(net.net.net, stack, strict=True):
            if isinstance(layer, MultiLinear):
                torch.testing.assert_close(single.weight.grad.T, layer.weight.grad[head])
                torch.testing.assert_close(single.bias.grad, layer.bias.grad.view(3, -1)[head])
    torch.testing.assert_close(z.grad, gradient)


def test_a_head_is_what_it_makes_of_pooled_features() -> None:
    head, pooled = MultiHead(8, 16, 4, heads=3), torch.randn(5, 8)
    z = head(features(pooled))
    assert z.shape == (5, 3, 4)
    assert (head.dim, head.heads) == (4, 3)
    torch.testing.assert_close(z[:, 1], alone(head, 1)(pooled))


def test_heads_are_initialised_independently_and_as_a_linear_layer_is() -> None:
    torch.manual_seed(0)
    layer = MultiLinear(4, 100, 200)
    bound = nn.Linear(100, 200).weight.abs().max().item()
    for weight in (*layer.weight, *layer.bias.view(4, -1)):
        assert weight.abs().max() <= 0.1  # 1/√100
        assert weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.1)
    assert layer.weight.abs().amax(dim=(1, 2)).tolist() == pytest.approx([bound] * 4, rel=1e-3)
    correlations = layer.weight.flatten(1).corrcoef() - torch.eye(4)
    assert correlations.abs().max() < 0.03  # of 20000 weights each


def test_biases_have_no_weight_decay() -> None:
    kept, decayed = param_groups_weight_decay(MultiHead(8, 16, 4, heads=3), 0.1)
    assert [group["weight_decay"] for group in (kept, decayed)] == [0.0, 0.1]
    assert [p.ndim for p in kept["params"]] == [1, 1]
    assert [p.ndim for p in decayed["params"]] == [3, 3]


def test_under_autocast_it_computes_in_bfloat16() -> None:
    torch.manual_seed(0)
    head, pooled = MultiHead(32, 64, 16, heads=4), torch.randn(8, 32)
    exact = head(features(pooled))
    with torch.autocast("cpu", torch.bfloat16):
        half = head(features(pooled))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 6, 2, 2)])
def test_a_predictor_refuses_other_heads_and_maps(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="predictor.heads=3 works on a vector for each head"):
        MultiPredictor(6, 16, heads=3)(torch.zeros(shape))


def test_no_heads_are_refused() -> None:
    with pytest.raises(UserError, match="heads=0: expected 1 or more"):
        MultiHead(8, 16, 4, heads=0)
