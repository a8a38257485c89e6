import copy
import shutil
from pathlib import Path

import pytest
import timm
import torch
from foregrounds import MEAN, STD, encoder
from safetensors.torch import save_file
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.run_folder import create
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.weights import save_weights
from sslab.ssl.pretrained.frozen_encoder import Frozen
from torch import nn


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As timm publishes weights: with a classifier."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("vit") / "model.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224", num_classes=7, depth=12).state_dict(), file)
    return file


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_model_of_timm_is_as_timm_says(vit: Path) -> None:
    frozen = Frozen(str(vit), "vit_tiny_patch16_224")
    assert (frozen.size, frozen.mean, frozen.std, frozen.dim) == (224, [0.5] * 3, [0.5] * 3, 192)
    trunk = timm.create_model("vit_tiny_patch16_224", num_classes=7, checkpoint_path=str(vit)).eval()
    with torch.no_grad():
        expected = trunk.forward_features(noise(1, 3, 224, 224))[:, 1:].mT.unflatten(2, (14, 14))
    torch.testing.assert_close(frozen(noise(1, 3, 224, 224)), expected)


def test_patches_are_of_the_models_own_size() -> None:
    assert Backbone("vit_small_patch8_224", 224).multiple == 8
    assert Backbone("vit_tiny_patch16_224", 224).multiple == 16
    with pytest.raises(UserError, match="100 px do not divide into patches of 16"):
        Backbone("vit_tiny_patch16_224", 100)


def test_a_run_folder_says_all_itself(tmp_path: Path) -> None:
    run, view = tmp_path / "run", {"size": 32, "mean": [0.1, 0.2, 0.3], "std": STD}
    backbone = {"_target_": "sslab.ssl.model.backbones.Backbone", "name": "resnet_tiny", "size": 32, "weights": None}
    create(run, {"backbone": backbone, "plain_view": view})
    save_weights(Backbone("resnet_tiny").trunk, run / "backbone.safetensors", {})
    frozen = Frozen(str(run), "vit_huge_patch14_clip_224.laion2b")
    assert (frozen.size, frozen.mean, frozen.dim) == (32, [0.1, 0.2, 0.3], 128)
    trained = Backbone("resnet_tiny", weights=str(run)).eval()
    with torch.no_grad():
        torch.testing.assert_close(frozen(noise(2, 3, 32, 32)), trained(noise(2, 3, 32, 32)).dense)
    smaller = Frozen(str(run), size=16, std=[0.5] * 3)
    assert (smaller.size, smaller.mean, smaller.std) == (16, [0.1, 0.2, 0.3], [0.5] * 3)


def test_nothing_trains_moves_or_copies_it(tmp_path: Path) -> None:
    frozen = encoder(tmp_path)
    holder = nn.Module()
    holder.encoder = frozen  # pyright: ignore[reportAttributeAccessIssue]
    holder.train()
    assert not holder.state_dict()
    assert not [*holder.parameters()]
    assert copy.deepcopy(holder).encoder is frozen
    assert not any(module.training for module in frozen.backbone.modules())
    assert not frozen(noise(2, 3, 32, 32).requires_grad_()).requires_grad
    before = copy.deepcopy(frozen.backbone.state_dict())
    frozen(noise(8, 3, 32, 32))
    assert all(torch.equal(before[name], value) for name, value in frozen.backbone.state_dict().items())


def test_images_are_seen_as_the_encoder_was_trained_to(tmp_path: Path) -> None:
    frozen = encoder(tmp_path)
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    theirs, mine = (image.new_tensor(pair)[..., None, None] for pair in (([0.3] * 3, [0.1] * 3), (MEAN, STD)))
    expected = frozen((image - mine[0]) / mine[1])
    torch.testing.assert_close(frozen.look((image - theirs[0]) / theirs[1], [0.3] * 3, [0.1] * 3), expected)
    same = (image - mine[0]) / mine[1]
    assert torch.equal(frozen.look(same, MEAN, STD), frozen(same))
    larger = encoder(tmp_path, size=64)
    assert larger.look(image, MEAN, STD).shape[2:] == (8, 8)


def test_half_precision_is_close_and_comes_out_as_float32(tmp_path: Path) -> None:
    whole = encoder(tmp_path)
    half = Frozen(whole.settings["weights"], "resnet_tiny", 32, MEAN, STD, precision="bf16-true")
    a, b = (frozen(noise(2, 3, 32, 32)) for frozen in (whole, half))
    assert b.dtype == torch.float32
    assert {weight.dtype for weight in half.backbone.parameters()} == {torch.bfloat16}
    assert not torch.equal(a, b)
    with torch.autocast("cpu", torch.bfloat16):  # of the training around it
        assert torch.equal(whole(noise(2, 3, 32, 32)), a)
    assert (a - b).norm() < 0.02 * a.norm()


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, vit: Path) -> None:
    with pytest.raises(UserError, match=r"model.safetensors of huggingface.co/timm/vit_huge_patch14.*nothing is down"):
        Frozen(None, "vit_huge_patch14_clip_224.laion2b")
    with pytest.raises(UserError, match="an encoder named resnet_tiny is none that timm has weights of"):
        Frozen(str(vit), "resnet_tiny")
    with pytest.raises(UserError, match="holds another backbone"):
        Frozen(str(vit), "resnet18")
    with pytest.raises(UserError, match="nowhere does not exist"):
        Frozen(str(tmp_path / "nowhere"), "resnet18")


def test_its_fingerprint_is_of_its_weights(tmp_path: Path) -> None:
    first = encoder(tmp_path)
    assert encoder(tmp_path).fingerprint == first.fingerprint
    moved = shutil.copy(first.settings["weights"], tmp_path / "moved.safetensors")
    assert Frozen(str(moved), "resnet_tiny", 32, MEAN, STD).fingerprint == first.fingerprint
    save_weights(Backbone("resnet_tiny").trunk, tmp_path / "other.safetensors", {})
    other = Frozen(str(tmp_path / "other.safetensors"), "resnet_tiny", 32, MEAN, STD)
    assert other.fingerprint != first.fingerprint
