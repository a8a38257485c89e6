"""The principal direction of patches, what is foreground by it, and the noise that an image bears."""

import shutil
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
from foregrounds import DIM, encoder, save_foreground
from hypothesis import given
from hypothesis import strategies as st
from sslab.ssl.core.errors import UserError
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.weights import save_weights
from sslab.ssl.pretrained.foreground import FILE, Foreground, noise_level, scores
from sslab.ssl.pretrained.foreground_pca import Principal, border_above_middle, first_direction, threshold
from sslab.ssl.pretrained.frozen_encoder import Frozen
from torch import Tensor


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    return encoder(tmp_path_factory.mktemp("encoder"))


def patches(n: int, side: int = 7, d: int = 6, seed: int = 0) -> Tensor:
    """Noise about a mean, and along one axis an object in the middle of each map."""
    draw = torch.Generator().manual_seed(seed)
    z = 0.3 * torch.randn(n, d, side, side, generator=draw) + torch.arange(d)[:, None, None]
    z[:, 2, 2:-2, 2:-2] += 3 + torch.rand(n, 1, 1, generator=draw)
    return z


def test_the_direction_is_that_of_a_principal_component_analysis() -> None:
    maps = patches(20)
    z = maps.movedim(1, -1).flatten(0, -2).double()
    expected = torch.linalg.svd(z - z.mean(0), full_matrices=False).Vh[0]
    whole, chunks = first_direction([maps], 6), first_direction(maps.split(3), 6)
    for found in (whole, chunks):
        assert abs(found.double() @ expected) == pytest.approx(1, abs=1e-6)
        assert found.norm().item() == pytest.approx(1, abs=1e-6)
    assert abs(whole[2]) > 0.95


def test_the_middle_of_images_is_foreground_whatever_the_sign_of_the_object(frozen: Frozen) -> None:
    for maps in (patches(20, d=DIM), -patches(20, d=DIM)):
        found = Principal(frozen, share=0.2).find(lambda maps=maps: maps.split(6))
        score = scores(maps, found.direction)
        assert score[:, 3, 3].mean() > score[:, 0].mean() + 1
        assert (score > found.threshold).float().mean().item() == pytest.approx(0.2, abs=0.001)
        count = found.inside(maps)
        assert (count - 9).abs().max() <= 3


@pytest.mark.parametrize(("side", "middle"), [(3, 1), (4, 2), (7, 5), (8, 6), (14, 10), (16, 12)])
def test_the_middle_is_about_half_of_the_patches(side: int, middle: int) -> None:
    border = (side - middle) // 2
    score = torch.zeros(1, side, side)
    score[:, border : side - border, border : side - border] = 1
    assert not border_above_middle(score)
    assert border_above_middle(-score)
    score[:, border, border] = -side * side
    assert border_above_middle(score)


def test_a_map_without_a_middle_is_refused() -> None:
    with pytest.raises(UserError, match="map of 2x2 patches has no middle: give the encoder larger images"):
        border_above_middle(torch.zeros(1, 2, 2))


@given(st.integers(1, 400), st.floats(0.01, 0.99), st.integers(0, 99))
def test_the_threshold_leaves_the_share_above_it(n: int, share: float, seed: int) -> None:
    seen = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).float()
    assert (seen > threshold(seen, share)).sum() == min(round(share * n), n - 1)


@given(st.integers(1, 2000), st.data())
def test_levels_are_right_closed_fifths(number: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, number))
    level = noise_level(torch.tensor([count]), number).item()
    assert level == 100 * max(ceil(5 * Fraction(count, number)) - 1, 0)
    assert level in range(0, 500, 100)


def test_levels_at_their_boundaries_and_monotone() -> None:
    count = torch.arange(0, 1001)
    level = noise_level(count, 1000)
    assert [level[i].item() for i in (0, 1, 200, 201, 400, 401, 600, 601, 800, 801, 1000)] == [
        *(0, 0, 0, 100, 100, 200, 200, 300, 300, 400, 400)
    ]
    assert (level.diff() >= 0).all()


def test_it_comes_back_from_its_file(tmp_path: Path, frozen: Frozen) -> None:
    direction = torch.randn(128, generator=torch.Generator().manual_seed(0))
    Foreground(direction, 0.1234567890123, frozen).save(tmp_path)
    for given_ in (tmp_path, tmp_path / FILE):
        found = Foreground.load(str(given_))
        assert torch.equal(found.direction, direction)
        assert found.threshold == 0.1234567890123
        assert found.encoder.settings == frozen.settings
    assert not [*tmp_path.glob("*.tmp")]


def test_weights_that_have_moved_or_changed(tmp_path: Path) -> None:
    folder = save_foreground(tmp_path)
    moved = shutil.move(tmp_path / "encoder.safetensors", tmp_path / "elsewhere.safetensors")
    with pytest.raises(UserError, match="encoder.safetensors does not exist"):
        Foreground.load(folder)
    assert Foreground.load(folder, weights=str(moved)).encoder.settings["weights"] == str(moved)
    torch.manual_seed(5)
    save_weights(Backbone("resnet_tiny").trunk, tmp_path / "encoder.safetensors", {})
    with pytest.raises(UserError, match="was made with other weights than"):
        Foreground.load(folder)


def test_what_is_no_foreground(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"holds no {FILE}: make one by python -m sslab.datamodules.generate"):
        Foreground.load(str(tmp_path))
    (tmp_path / FILE).write_text("nothing")
    with pytest.raises(UserError, match=f"is no {FILE}"):
        Foreground.load(str(tmp_path))
    encoder(tmp_path)
    with pytest.raises(UserError, match=f"is no {FILE}"):
        Foreground.load(str(tmp_path / "encoder.safetensors"))


@pytest.mark.parametrize("wrong", [{"images": 0}, {"share": 0.0}, {"share": 1.0}])
def test_settings_that_make_no_sense(frozen: Frozen, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="expected 1 or more, and between 0 and 1"):
        Principal(frozen, **wrong)
