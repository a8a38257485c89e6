import pytest
import torch
from sslab.eval.features.extract import Pixels
from sslab.heads.dense import DenseHead
from sslab.heads.mlp import Projector
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.layers import Layered
from torch import nn
from torch.nn.functional import normalize

IMAGE = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def vit() -> Backbone:
    torch.manual_seed(0)
    return Backbone("vit_tiny_patch16_224", 32).eval()


@torch.no_grad()
def test_layers_of_a_vit():
    backbone = vit()
    layered = Layered(backbone)
    assert layered.layers == ("h", "cls_4", "patch_avg")
    seen, named = backbone(IMAGE), layered.named(IMAGE, layered.layers)
    assert named["h"].equal(seen.pooled)
    torch.testing.assert_close(named["patch_avg"], seen.dense.mean((2, 3)))
    blocks: list[torch.Tensor] = []
    for block in backbone.trunk.blocks[-4:]:
        block.register_forward_hook(lambda module, given, out: blocks.append(out[:, 0]))
    backbone(IMAGE)
    expected = torch.cat([backbone.trunk.norm(b) for b in blocks], dim=1)
    torch.testing.assert_close(named["cls_4"], expected)


@pytest.mark.parametrize("name", ["resnet_tiny", "resnet18", "convnext_atto"])
@torch.no_grad()
def test_layers_of_stages(name):
    torch.manual_seed(0)
    backbone = Backbone(name, 32).eval()
    layered = Layered(backbone)
    assert layered.layers == ("h", "pool_2")
    last = backbone.trunk.feature_info[-1]["num_chs"]
    joined = layered.named(IMAGE, ["pool_2"])["pool_2"]
    assert joined.shape == (3, backbone.trunk.feature_info[-2]["num_chs"] + last)
    if name.startswith("resnet"):  # others have a norm between the last map and h
        torch.testing.assert_close(joined[:, -last:], backbone(IMAGE).pooled)


@torch.no_grad()
def test_z_is_what_the_head_makes_of_unit_length():
    backbone, head = Backbone("resnet_tiny", 32).eval(), Projector(128, 16, 8).eval()
    layered = Layered(backbone, head)
    assert layered.layers[-1] == "z"
    assert layered.named(IMAGE, ["z"])["z"].equal(normalize(head(backbone(IMAGE))))


def test_heads_without_one_vector_offer_no_z():
    assert "z" not in Layered(vit(), DenseHead(dense_dim=192, hidden=8, dim=4)).layers


@pytest.mark.parametrize("module", [nn.Identity(), Pixels(4)])
def test_other_modules_have_h_alone(module):
    assert Layered(module).layers == ("h",)
