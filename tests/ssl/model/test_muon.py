import pytest
import torch
from sslab.heads.mlp import Projector
from sslab.heads.multi import MultiHead
from sslab.heads.prototypes import Prototypes
from sslab.ssl.losses.policies.temperature import Learned
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.muon import STACKED_RATE
from sslab.ssl.model.optim import Optim
from torch import Tensor, nn

MUON = Optim("muon", lr=0.1, weight_decay=0.01, momentum=0.9, scaling="none")


def kinds(part: nn.Module) -> dict[str, str]:
    """The rule by which every parameter moves, by its name."""
    found = {}
    for group in MUON.build({"encoder": part}, 256).param_groups:
        rate = group["fallback_lr_scale"] * group["lr"]
        kind = f"adamw at {rate:g}" if group["use_fallback"] else "muon"
        found |= dict.fromkeys(group["params"], kind)
    return {name: found[parameter] for name, parameter in part.named_parameters()}


def test_layers_of_a_resnet_are_matrices_and_norms_are_not() -> None:
    found = kinds(Backbone("resnet_tiny", 32))
    assert {kind for name, kind in found.items() if "conv" in name or "downsample.0" in name} == {"muon"}
    assert {kind for name, kind in found.items() if "bn" in name} == {"adamw at 0.1"}


def test_tokens_and_positions_of_a_vit_are_no_matrices() -> None:
    found = kinds(Backbone("vit_tiny_patch16_224", 32))
    stacked = {
        name.removeprefix("trunk.") for name, kind in found.items() if kind == f"adamw at {0.1 * STACKED_RATE:g}"
    }
    assert stacked == {"cls_token", "pos_embed"}
    assert {kind for name, kind in found.items() if name.endswith(("qkv.weight", "fc1.weight", "proj.weight"))} == {
        "muon"
    }


def test_heads_prototypes_and_temperatures() -> None:
    assert kinds(Projector(8, 16, 4))["net.0.weight"] == "muon"
    assert kinds(Prototypes(8, 16, 4, 32))["prototypes"] == "muon"
    assert set(kinds(Learned()).values()) == {"adamw at 0.1"}
    multi = kinds(MultiHead(8, 16, 4, heads=3))
    assert multi["net.net.0.weight"] == "adamw at 0.005"
    assert multi["net.net.0.bias"] == "adamw at 0.1"


def test_every_parameter_moves_by_one_rule() -> None:
    net = nn.Sequential(Backbone("vit_tiny_patch16_224", 32), MultiHead(192, 8, 4, heads=3))
    parameters = [p for group in MUON.build({"encoder": net}, 256).param_groups for p in group["params"]]
    assert len(parameters) == len({id(p) for p in parameters}) == len(list(net.parameters()))


def stepped(weight: Tensor, gradient: Tensor) -> Tensor:
    """The difference that a first step without decay makes to a weight."""
    layer = nn.ParameterList([nn.Parameter(weight.clone())])
    layer[0].grad = gradient.clone()
    MUON._replace(weight_decay=0.0).build({"encoder": layer}, 256).step()
    return layer[0].detach() - weight


def orthogonal(gradient: Tensor) -> Tensor:
    """U Vᵀ of the singular value decomposition."""
    u, _, v = torch.linalg.svd(gradient.double(), full_matrices=False)
    return u @ v


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (16, 6, 3, 3)])
def test_a_step_is_an_orthogonal_matrix_as_long_as_one_of_adam(shape: tuple[int, ...]) -> None:
    """-rate · 0.2 √max(out, in) · U Vᵀ, up to the iteration's tolerance of its singular values."""
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    moved = stepped(torch.zeros(shape), gradient).flatten(1).double()
    flat = gradient.flatten(1)
    expected = -0.1 * 0.2 * max(flat.shape) ** 0.5 * orthogonal(flat)
    values = torch.linalg.svdvals(moved) / torch.linalg.svdvals(expected)
    assert ((values - 1).abs() < 0.25).all()
    assert torch.cosine_similarity(moved.flatten(), expected.flatten(), dim=0) > 0.99


def test_a_convolution_moves_as_the_matrix_that_it_is() -> None:
    gradient = torch.randn(16, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    flat = stepped(torch.zeros(16, 54), gradient.flatten(1))
    torch.testing.assert_close(stepped(torch.zeros(16, 6, 3, 3), gradient).flatten(1), flat)


def test_the_length_of_the_gradient_is_immaterial() -> None:
    gradient = torch.randn(16, 48, generator=torch.Generator().manual_seed(0))
    once, often = (stepped(torch.zeros(16, 48), scale * gradient) for scale in (1.0, 1e-3))
    torch.testing.assert_close(once, often, rtol=0.02, atol=1e-3)
