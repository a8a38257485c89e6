"""A compiled backbone is the same network: its features, gradients and names."""

import copy

import pytest
import torch
from cli import Cli
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import View
from sslab.ssl.experiment.training import Training
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.encoder import Encoder
from sslab.ssl.model.teacher import EMA
from torch import nn


class Pooled(nn.Module):
    def forward(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return features[0]


def views(*sides: int) -> dict[int, View]:
    torch.manual_seed(0)
    b = 4
    return {
        v: View(torch.randn(b, 3, side, side), torch.zeros(b, 4), torch.zeros(b, dtype=torch.bool))
        for v, side in enumerate(sides)
    }


def test_features_gradients_and_statistics_are_those_of_the_network_itself() -> None:
    torch.manual_seed(1)
    plain = Encoder(Backbone("resnet_tiny"), Pooled())
    compiled = copy.deepcopy(plain)
    compiled.compiled = True
    teachers = [EMA(encoder) for encoder in (plain, compiled)]
    assert teachers[1].encoder.compiled
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    some = views(16, 16, 8)  # as multi-crop has them
    for encoder, teacher in zip((plain, compiled), teachers, strict=True):
        k = teacher(some, {})
        sum((z.z * k[v]).sum() for v, z in encoder(some).items()).backward()  # pyright: ignore[reportAttributeAccessIssue]
    for (name, p), c in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert p.grad is not None
        assert c.grad is not None
        assert torch.allclose(p.grad, c.grad, rtol=1e-3, atol=1e-3 * float(p.grad.abs().max())), name
    for p, c in zip(plain.buffers(), compiled.buffers(), strict=True):
        assert torch.allclose(p, c, atol=1e-5)


def test_a_run_ends_with_an_export_that_knows_nothing_of_it(cli: Cli) -> None:
    few = ("data.source.train=32", "data.source.test=8", "data.batch_size=8", "data.holdout=0", "head.hidden=16")
    run = cli.run("trainer=cpu", "trainer.compile=true", "trainer.max_steps=2", "eval=none", "monitor=none", *few)
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert "encoder.backbone.trunk.conv1.weight" in state
    assert not [name for name in state if "_orig_mod" in name]


def test_what_cannot_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"trainer\.compile=true and trainer\.cached_batch=8"):
        Training(max_steps=1, compile=True, cached_batch=8).check()
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="needs a C.. compiler"):
        Training(max_steps=1, compile=True).check()
