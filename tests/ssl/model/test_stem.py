import pytest
import torch
from cli import Cli
from sslab.ssl.core.errors import UserError
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.stem import whiten_stem
from torch import nn

FEW = ("data.source.train=32", "data.source.test=16", "data.batch_size=8", "data.holdout=0", "head.hidden=16")


def coloured(count: int, side: int) -> torch.Tensor:
    """Noise whose neighbours and channels go together."""
    noise = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return noise + noise.mean(1, keepdim=True) + torch.nn.functional.avg_pool2d(noise, 3, 1, 1)


def test_responses_are_uncorrelated_and_of_one_variance() -> None:
    """Up to what is added to the eigenvalues: filters are rows of U (Λ + ε)^-1/2, so responses have λ / (λ + ε)."""
    images = coloured(64, 12)
    convolution = nn.Conv2d(3, 54, 3, bias=False).double()
    whiten_stem(convolution, images)
    responses = convolution(images).transpose(0, 1).flatten(1)[:27]
    covariance = responses.cov()
    scale = covariance.diagonal().mean()
    assert torch.allclose(covariance / scale, torch.eye(27, dtype=torch.float64), atol=0.05)
    assert torch.equal(convolution.weight[27:54], -convolution.weight[:27])
    assert not convolution.weight.requires_grad


def test_filters_keep_their_deviation_and_the_largest_components_come_first() -> None:
    images = coloured(64, 12)
    few, many = nn.Conv2d(3, 16, 3, bias=False).double(), nn.Conv2d(3, 64, 3, bias=False).double()
    last = many.weight[54:].clone()
    deviation = many.weight.std()
    for convolution in (few, many):
        whiten_stem(convolution, images)
    assert torch.equal(many.weight[54:], last)
    assert torch.allclose(many.weight[:54].std(), deviation)
    ratio = few.weight[:8] / many.weight[:8]
    assert torch.allclose(ratio, ratio.mean().expand_as(ratio))


def test_a_trunk_without_a_convolution_is_refused() -> None:
    with pytest.raises(UserError, match="needs a convolution, and Linear has none"):
        whiten_stem(nn.Linear(3, 3), coloured(2, 4))


def test_a_run_keeps_its_stem_and_its_export_loads(cli: Cli) -> None:
    run = cli.run("trainer=cpu", "backbone.stem=whitened", "trainer.max_steps=3", "trainer.checkpoint_every=1", *FEW)
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    weight = state["state_dict"]["encoder.backbone.trunk.conv1.weight"]
    assert torch.allclose(weight[:8], -weight[8:])
    cli.run(f"backbone.weights={run}", "trainer=cpu", "trainer.max_steps=1", "eval=none", *FEW)
    with pytest.raises(UserError, match=r"backbone\.stem=whitened"):
        Backbone("resnet_tiny", weights=str(run), stem="whitened")
