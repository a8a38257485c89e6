from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from sslab.ssl.core.errors import UserError
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.concat import Concat
from sslab.ssl.model.weights import save_weights
from torch import Tensor
from torch.nn.functional import normalize

IMAGE = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def parts() -> list[Backbone]:
    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        made.append(Backbone("resnet_tiny", size=16).double())
        with torch.no_grad():
            made[-1].trunk.layer4[0].bn2.weight.mul_(seed + 1)  # norms that differ
    return made


def cosines(z: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    return normalize(z) @ normalize(z).T


def test_the_cosine_is_the_mean_of_the_parts_weighted_by_norms(parts: list[Backbone]) -> None:
    joined = Concat([*parts])(IMAGE.double()).pooled
    alone = [part(IMAGE.double()).pooled for part in parts]
    weight = [z.norm(dim=1)[:, None] * z.norm(dim=1) for z in alone]
    squares = sum(z.norm(dim=1) ** 2 for z in alone)
    total = torch.sqrt(squares[:, None] * squares)  # pyright: ignore[reportIndexIssue]
    expected = sum(w * cosines(z) for w, z in zip(weight, alone, strict=True)) / total
    torch.testing.assert_close(cosines(joined), expected)


def test_with_parts_of_unit_length_it_is_their_mean(parts: list[Backbone]) -> None:
    joined = Concat([*parts], normalise=True)(IMAGE.double()).pooled
    expected = torch.stack([cosines(part(IMAGE.double()).pooled) for part in parts]).mean(dim=0)
    torch.testing.assert_close(cosines(joined), expected)


def test_the_order_of_the_parts_is_of_no_account(parts: list[Backbone]) -> None:
    one, other = (cosines(Concat(some)(IMAGE.double()).pooled) for some in ([*parts], [*reversed(parts)]))
    torch.testing.assert_close(one, other)


def test_all_shapes_are_joined_along_channels(parts: list[Backbone]) -> None:
    joined, seen = Concat([*parts]), [part.eval()(IMAGE.double()) for part in parts]
    features = joined(IMAGE.double())
    assert joined.dim == joined.dense_dim == features.pooled.shape[1] == sum(part.dim for part in parts)
    torch.testing.assert_close(features.dense, torch.cat([f.dense for f in seen], dim=1))
    torch.testing.assert_close(features.tokens, torch.cat([f.tokens for f in seen], dim=2))


def test_parts_stay_as_they_were_trained(parts: list[Backbone]) -> None:
    joined = Concat([*parts]).train()
    before = {k: v.clone() for k, v in joined.state_dict().items()}
    assert not joined(IMAGE.double()).pooled.requires_grad
    assert all(torch.equal(before[k], v) for k, v in joined.state_dict().items())


def test_weights_are_those_of_all_parts(parts: list[Backbone], tmp_path: Path) -> None:
    save_weights(Concat([*parts]).trunk, tmp_path / "backbone.safetensors", {})
    again = Concat([Backbone("resnet_tiny", size=16).double() for _ in parts], weights=str(tmp_path))
    assert torch.equal(again(IMAGE.double()).pooled, Concat([*parts])(IMAGE.double()).pooled)
    with pytest.raises(UserError, match="holds another backbone"):
        Concat([Backbone("resnet_tiny", size=16)], weights=str(tmp_path))


def test_views_are_checked_by_every_part() -> None:
    with pytest.raises(UserError, match="multiples of 8 px"):
        Concat([Backbone("resnet_tiny"), Backbone("vit_tiny_patch16_224", size=32)]).check(30, 30)
