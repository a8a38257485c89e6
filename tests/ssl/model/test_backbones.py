import logging
from pathlib import Path

import pytest
import timm
import torch
from sslab.ssl.core.errors import UserError
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.weights import load_weights, save_weights
from timm.layers import resample_abs_pos_embed


@pytest.mark.parametrize(
    ("name", "size", "dim", "grid"),
    [
        ("resnet_tiny", 32, 128, 4),
        ("resnet18", 32, 512, 4),
        ("resnet18", 96, 512, 3),
        ("vit_tiny_patch16_224", 32, 192, 4),
        ("vit_tiny_patch16_224", 64, 192, 8),
        ("vit_tiny_patch16_224", 96, 192, 6),
        ("convnext_atto", 64, 320, 2),
    ],
)
def test_pooled_dense_and_tokens_are_one_layer(name: str, size: int, dim: int, grid: int) -> None:
    backbone = Backbone(name, size).eval()
    with torch.no_grad():
        pooled, dense, tokens = backbone(torch.randn(2, 3, size, size))
    assert pooled.shape == (2, dim)
    assert dense.shape == (2, dim, grid, grid)
    assert tokens.shape == (2, grid * grid, dim)
    assert torch.equal(tokens[:, 1], dense[:, :, 0, 1])  # row by row
    if name.startswith("resnet"):
        assert torch.allclose(pooled, dense.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "dim", "grid"), [("resnet_tiny", 64, 8), ("resnet18", 256, 8), ("vit_tiny_patch16_224", 192, 4)]
)
def test_the_map_may_be_of_the_previous_stage(name: str, dim: int, grid: int) -> None:
    torch.manual_seed(0)
    last = Backbone(name, 32).eval()
    torch.manual_seed(0)
    previous = Backbone(name, 32, dense="previous").eval()
    stage: torch.nn.Module = previous.trunk.blocks[-2] if name.startswith("vit") else previous.trunk.layer3
    seen, image = [], torch.randn(2, 3, 32, 32)
    stage.register_forward_hook(lambda _, given, result: seen.append(result))
    with torch.no_grad():
        pooled, _, tokens = last(image)
        found = previous(image)
    assert found.dense.shape == (2, previous.dense_dim, grid, grid) == (2, dim, grid, grid)
    expected = seen[0][:, 1:].mT.unflatten(2, (grid, grid)) if name.startswith("vit") else seen[0]
    assert torch.equal(found.dense, expected)
    assert torch.equal(found.pooled, pooled)
    assert torch.equal(found.tokens, tokens)


def test_vit_pools_its_class_token_and_keeps_it_out_of_the_map() -> None:
    backbone = Backbone("vit_tiny_patch16_224", 32).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        pooled, _, tokens = backbone(image)
        everything = backbone.trunk.forward_features(image)
    assert torch.allclose(pooled, everything[:, 0])
    assert torch.equal(tokens, everything[:, 1:])


def test_dense_follows_the_image() -> None:
    """A patch that changes moves its own token most: rows and columns are not swapped."""
    backbone = Backbone("vit_tiny_patch16_224", 32, patch=4).eval()
    image = torch.randn(1, 3, 32, 32)
    other = image.clone()
    other[:, :, 4:8, 24:28] += 3  # patch in row 1, column 6
    with torch.no_grad():
        change = (backbone(image).dense - backbone(other).dense).norm(dim=1)[0]
    assert divmod(int(change.argmax()), 8) == (1, 6)


def test_a_small_crop_is_seen_at_interpolated_positions() -> None:
    backbone, crop = Backbone("vit_tiny_patch16_224", 32).eval(), torch.randn(2, 3, 16, 24)
    small = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=(16, 24), patch_size=8).eval()
    weights = backbone.trunk.state_dict()
    with torch.no_grad():
        weights["pos_embed"] = resample_abs_pos_embed(weights["pos_embed"], [2, 3], [4, 4])
        small.load_state_dict(weights)
        pooled, dense, tokens = backbone(crop)
        last = small.forward_features(crop)
    torch.testing.assert_close(pooled, last[:, 0])
    torch.testing.assert_close(tokens, last[:, 1:])
    assert dense.shape == (2, 192, 2, 3)


def test_interpolation_leaves_images_of_the_full_size_alone() -> None:
    torch.manual_seed(0)
    backbone, image = Backbone("vit_tiny_patch16_224", 32).eval(), torch.randn(2, 3, 32, 32)
    torch.manual_seed(0)
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, patch_size=8).eval()
    with torch.no_grad():
        assert torch.equal(backbone(image).pooled, plain(image))


def test_a_crop_that_does_not_divide_into_patches_is_refused() -> None:
    with pytest.raises(UserError, match="sides are multiples of 8 px, but a view has 20x16: change the size"):
        Backbone("vit_tiny_patch16_224", 32)(torch.randn(2, 3, 16, 20))


def test_a_vit_of_one_size_still_takes_it() -> None:
    backbone = Backbone("vit_relpos_small_patch16_224", 32, patch=8)
    assert backbone(torch.randn(2, 3, 32, 32)).dense.shape == (2, 384, 4, 4)


def test_resnet_tiny_is_tiny() -> None:
    assert 0.25e6 < sum(p.numel() for p in Backbone("resnet_tiny").parameters()) < 0.35e6


def test_small_images_keep_their_resolution_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        small = Backbone("resnet18", 64)
        large = Backbone("resnet18", 65)
        Backbone("vit_tiny_patch16_224", 32)
    assert small.trunk.conv1.stride == (1, 1)
    assert isinstance(small.trunk.maxpool, torch.nn.Identity)
    assert large.trunk.conv1.stride == (2, 2)
    assert "3x3 stem, stride 1, no pool" in caplog.messages[0]
    assert "stem" not in caplog.messages[1]
    assert "(patch 8)" in caplog.messages[2]


def test_convolutions_run_channels_last() -> None:
    seen = []
    backbone = Backbone("resnet_tiny")
    backbone.trunk.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    backbone(torch.randn(2, 3, 32, 32))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_a_patch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="30 px do not divide into patches of 4"):
        Backbone("vit_tiny_patch16_224", 30, patch=4)


def test_an_unknown_model_gets_its_neighbours() -> None:
    with pytest.raises(UserError, match="resnet18"):
        Backbone("resnet81", 32)


def test_weights_come_back(tmp_path: Path) -> None:
    saved = Backbone("resnet_tiny")
    save_weights(saved.trunk, tmp_path / "backbone.safetensors", {"backbone": "resnet_tiny"})
    again = Backbone("resnet_tiny", weights=str(tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), again.parameters(), strict=True))


def test_weights_of_another_backbone_are_refused_whole(tmp_path: Path) -> None:
    save_weights(Backbone("resnet18").trunk, tmp_path / "w.safetensors", {})
    tiny = Backbone("resnet_tiny")
    before = [p.clone() for p in tiny.parameters()]
    with pytest.raises(UserError, match="holds another backbone"):
        load_weights(tiny.trunk, tmp_path / "w.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(before, tiny.parameters(), strict=True))


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    trunk = Backbone("resnet_tiny").trunk
    for name in ("text.safetensors", "text.ckpt"):
        (tmp_path / name).write_text("no weights at all")
        with pytest.raises(UserError, match="is no"):
            load_weights(trunk, tmp_path / name)
    torch.save({"state_dict": {"fc.weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="holds no backbone"):
        load_weights(trunk, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="does not exist"):
        load_weights(trunk, tmp_path / "nothing.ckpt")
