import pytest
import torch
from sslab.heads.mlp import Projector
from sslab.ssl.core.step import View
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.encoder import Encoder
from sslab.ssl.model.teacher import EMA, Siamese, StopGradient


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(Backbone("resnet_tiny"), Projector(128, 16, 8))


@pytest.fixture
def views() -> dict[int, View]:
    image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return {1: View(image, torch.zeros(4, 4), torch.zeros(4, dtype=torch.bool))}


def test_siamese_targets_carry_the_gradient_and_stopped_ones_do_not(encoder: Encoder, views: dict[int, View]) -> None:
    z = {0: torch.ones(1, requires_grad=True), 1: torch.ones(1, requires_grad=True)}
    assert Siamese(encoder)(views, z)[1] is z[1]
    assert not StopGradient(encoder)(views, z)[1].requires_grad


def moved(encoder: Encoder) -> None:
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1.0)
        for m in encoder.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.running_mean += 2.0  # pyright: ignore[reportOperatorIssue]


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_weights_and_norm_statistics_follow_with_the_scheduled_momentum(encoder: Encoder, progress: float) -> None:
    teacher = EMA(encoder, start=0.9, end=1.0)
    before = {k: v.clone() for k, v in teacher.encoder.state_dict().items()}
    moved(encoder)
    teacher.update(encoder, progress)
    m = {0.0: 0.9, 0.5: 0.95, 1.0: 1.0}[progress]
    for key, online in encoder.state_dict().items():
        if online.is_floating_point():
            expected = m * before[key] + (1 - m) * online
            assert torch.allclose(teacher.encoder.state_dict()[key], expected, atol=1e-6), key


def test_the_teacher_is_frozen_and_stays_in_eval_mode(encoder: Encoder, views: dict[int, View]) -> None:
    teacher = EMA(encoder).train()
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(m.training for m in teacher.modules())
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    assert not teacher(views, {})[1].requires_grad
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


def test_with_its_own_batch_statistics_it_equals_the_online_network(encoder: Encoder, views: dict[int, View]) -> None:
    online = encoder.train()(views)[1].z
    assert torch.allclose(EMA(encoder, norm="batch").train()(views, {})[1], online, atol=1e-6)
    assert not torch.allclose(EMA(encoder, norm="ema").train()(views, {})[1], online, atol=1e-3)
    assert not any(m.training for m in EMA(encoder, norm="batch").eval().modules())


def test_with_its_own_batch_statistics_it_sees_views_apart(encoder: Encoder, views: dict[int, View]) -> None:
    two = {0: views[1]._replace(image=2 * views[1].image - 1), **views}
    teacher = EMA(encoder, norm="batch").train()
    together, alone = teacher(two, {}), {v: teacher({v: view}, {})[v] for v, view in two.items()}
    assert all(torch.equal(together[v], alone[v]) for v in two)
