import torch
from sslab.heads.mlp import Projector
from sslab.ssl.core.step import View
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.encoder import Encoder


def view(seed: int, size: int = 32) -> View:
    image = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return View(image, torch.zeros(4, 4), torch.zeros(4, dtype=torch.bool))


def passes(encoder: Encoder, views: dict[int, View]) -> list[int]:
    """Batch sizes that the backbone receives."""
    seen: list[int] = []
    hook = encoder.backbone.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    encoder(views)
    hook.remove()
    return seen


def test_views_see_their_own_batch_statistics() -> None:
    encoder = Encoder(Backbone("resnet_tiny"), Projector(128, 16, 8))
    views = {0: view(0), 1: view(1)}
    assert passes(encoder, views) == [4, 4]
    with torch.no_grad():
        together, alone = encoder(views), {v: encoder({v: views[v]})[v] for v in views}
    for v in views:
        assert torch.equal(together[v].z, alone[v].z)


def test_views_are_joined_where_nothing_depends_on_the_batch() -> None:
    encoder = Encoder(Backbone("vit_tiny_patch16_224"), Projector(192, 16, 8, norm="layer"))
    views = {0: view(0), 2: view(1), 1: view(2)}
    assert passes(encoder, views) == [12]
    with torch.no_grad():
        together = encoder(views)
        alone = {v: encoder({v: views[v]})[v] for v in views}
    assert list(together) == [0, 2, 1]
    for v in views:
        assert torch.allclose(together[v].z, alone[v].z, atol=1e-5)
        assert torch.allclose(together[v].features.dense, alone[v].features.dense, atol=1e-4)


def test_crops_of_another_size_go_apart() -> None:
    encoder = Encoder(Backbone("resnet_tiny").eval(), Projector(128, 16, 8, norm="none")).eval()
    assert passes(encoder, {0: view(0), 1: view(1), 2: view(2, 16)}) == [8, 4]
