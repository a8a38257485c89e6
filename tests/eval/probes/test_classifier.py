import pytest
import torch
import tuning
from sslab.eval.probes.classifier import Classifier, linear_head
from sslab.ssl.core.errors import UserError
from sslab.ssl.model.layers import Layered
from torch import nn

IMAGE = torch.rand(4, 3, tuning.SIDE, tuning.SIDE, generator=torch.Generator().manual_seed(0))


def rates(model: Classifier, **settings: float) -> dict[str, float]:
    """Of every weight, by name."""
    groups = model.groups(peak=1.0, decay=0.1, **{"head_scale": 1.0, "layer_decay": 1.0, **settings})
    of = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in groups), "each once"
    return {name: of[id(p)] for name, p in model.named_parameters() if id(p) in of}


def classifier(backbone: nn.Module, trunk: str = "trained") -> Classifier:
    model = Classifier(backbone, trunk)  # pyright: ignore[reportArgumentType]
    model.head = linear_head(model.features(IMAGE).shape[1], 3, False, 0.01, 0)
    return model


def test_rates_fall_from_block_to_block_of_a_vit():
    model = classifier(tuning.backbone("vit_tiny_patch16_224"))
    found = rates(model, layer_decay=0.5, head_scale=3.0)
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, rate in found.items():
        if name.startswith("head"):
            expected = 3.0
        elif "blocks" in name:
            expected = 0.5 ** (12 - int(name.split(".")[3]))
        else:
            expected = 0.5 if ".norm." in name else 0.5**13
        assert rate == pytest.approx(expected), name


def test_rates_fall_from_block_to_block_of_a_resnet():
    found = rates(classifier(Layered(tuning.backbone())), layer_decay=0.5)
    expected = {"conv1": 0.5**4, "bn1": 0.5**4, "layer2": 0.5**3, "layer3": 0.5**2, "layer4": 0.5, "head": 1.0}
    for name, rate in found.items():
        part = "head" if name.startswith("head") else name.split("trunk.")[1].split(".")[0]
        assert rate == pytest.approx(expected[part]), name


def test_norms_biases_and_what_a_vit_spares_do_not_decay():
    model = classifier(tuning.backbone("vit_tiny_patch16_224"))
    for group in model.groups(1.0, 0.1, 1.0, 0.75):
        for p in group["params"]:
            (name,) = [n for n, q in model.named_parameters() if q is p]
            spared = p.ndim == 1 or name.endswith(("pos_embed", "cls_token"))
            assert group["weight_decay"] == (0 if spared else 0.1), name


def test_a_frozen_trunk_has_no_rates():
    assert rates(classifier(tuning.backbone(), "frozen"), head_scale=2.0) == {"head.0.weight": 2.0, "head.0.bias": 2.0}


def test_rates_by_layer_need_layers():
    with pytest.raises(UserError, match="layer_decay is for timm's models"):
        Classifier(nn.Conv2d(3, 3, 1), "trained").groups(1.0, 0.0, 1.0, 0.5)


@pytest.mark.parametrize(("trunk", "learns", "mode"), [("frozen", 0, 0), ("fixed_statistics", 1, 0), ("trained", 1, 1)])
def test_modes(trunk, learns, mode):
    model = classifier(tuning.backbone(), trunk).train()
    assert {p.requires_grad for p in model.backbone.parameters()} == {bool(learns)}
    assert {m.training for m in model.backbone.modules()} == {bool(mode)}
    assert model.head.training
    assert not any(m.training for m in model.eval().modules())


def test_layers_side_by_side():
    backbone = Layered(tuning.backbone("vit_tiny_patch16_224")).eval()
    seen = backbone.named(IMAGE, ["h", "patch_avg"])
    found = Classifier(backbone, "frozen", ["patch_avg", "h"]).eval().features(IMAGE)
    assert found.equal(torch.cat([seen["patch_avg"], seen["h"]], 1))


@pytest.mark.parametrize("backbone", [tuning.backbone(), Layered(tuning.backbone())])
def test_a_layer_that_is_not_there(backbone):
    with pytest.raises(UserError, match="this backbone has no layer cls_4: read some of h"):
        Classifier(backbone, "frozen", ["h", "cls_4"])


def test_the_head_starts_from_its_seed_alone():
    before = torch.get_rng_state()
    first, second, other = (linear_head(4000, 5, False, 0.01, seed)[0] for seed in (0, 0, 1))
    assert torch.get_rng_state().equal(before)
    assert first.weight.equal(second.weight)
    assert not first.weight.equal(other.weight)
    assert first.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert first.bias.abs().max() == 0
    assert linear_head(40, 5, False, 0.0, 0)[0].weight.abs().max() == 0


def test_batch_norm_before_the_head_standardises():
    head = linear_head(6, 3, True, 0.1, 0)
    x = 5 + 3 * torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    standard = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(head(x), head[1](standard))
    assert len(list(head.parameters())) == 2
