import pytest
import torch
from embeddings import normal
from sslab.heads.dense import DenseHead, Propagation
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Features
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize


def features(dense: Tensor) -> Features:
    return Features(dense.mean((2, 3)), dense, dense.flatten(2).mT)


def convolution(linear: nn.Linear) -> nn.Conv2d:
    made = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None).double()
    made.load_state_dict({k: v[..., None, None] if k == "weight" else v for k, v in linear.state_dict().items()})
    return made


@pytest.mark.parametrize("training", [True, False])
def test_a_head_is_convolutions_of_one_pixel_with_their_batch_norm(training: bool) -> None:
    head = DenseHead(6, 8, 5).double().train(training)
    first, norm, _, second = head.net
    assert isinstance(norm, nn.BatchNorm1d)
    norm.running_mean = normal(8)
    norm_of_maps = nn.BatchNorm2d(8).double()
    norm_of_maps.load_state_dict(norm.state_dict())
    written_out = nn.Sequential(convolution(first), norm_of_maps, nn.ReLU(), convolution(second)).train(training)
    x = normal(3, 6, 4, 2)
    torch.testing.assert_close(head(features(x)), written_out(x))
    torch.testing.assert_close(norm.running_var, norm_of_maps.running_var)
    assert head.dim == 5


def test_without_layers_it_is_the_map() -> None:
    x, head = normal(3, 6, 4, 2), DenseHead(6, 0, 0, layers=0)
    assert torch.equal(head(features(x)), x)
    assert head.dim == 6


@pytest.mark.parametrize(("gamma", "layers"), [(2.0, 0), (2.0, 1), (1.0, 2), (0.5, 1), (3.5, 1)])
def test_propagation_equals_the_definition(gamma: float, layers: int) -> None:
    predictor, z = Propagation(5, gamma, layers, norm="layer").double(), normal(2, 5, 3, 2)
    pixels = z.flatten(2).mT
    expected = torch.zeros_like(pixels)
    for b in range(2):
        for i, one in enumerate(pixels[b]):
            for other in pixels[b]:
                cosine = cosine_similarity(one, other, dim=0).clamp(0) + (1e-6 if gamma < 1 else 0)
                expected[b, i] += cosine**gamma * normalize(predictor.net(other[None])[0], dim=0)
    torch.testing.assert_close(predictor(z).flatten(2).mT, expected)


def test_pixels_at_right_angles_do_not_see_each_other() -> None:
    z = 3 * torch.linalg.qr(normal(2, 9, 9)).Q.unflatten(2, (3, 3))
    torch.testing.assert_close(Propagation(9, layers=0)(z), z / 3)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("z", [torch.eye(4).reshape(1, 4, 2, 2), torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)])
def test_gradients_are_finite_where_cosines_are_0_or_1_or_none(gamma: float, z: Tensor) -> None:
    z = z.clone().requires_grad_()
    Propagation(4, gamma)(z).square().sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_what_is_no_map_and_no_power_is_refused() -> None:
    with pytest.raises(UserError, match="predictor=propagation works on maps"):
        Propagation(4)(torch.ones(2, 4))
    with pytest.raises(UserError, match=r"predictor.gamma=0.0 is the power"):
        Propagation(4, 0.0)
