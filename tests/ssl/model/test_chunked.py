"""A batch in chunks is the whole batch: its value, its gradient, and all that it leaves behind."""

import copy
import logging
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import Cli
from embeddings import normal
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from sslab.ssl.core.step import Batch, Features
from sslab.ssl.experiment.build import Experiment, build
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.chunked import in_chunks
from sslab.ssl.model.module import Module
from torch import Tensor, nn

CONF = Path(__file__).parents[3] / "conf"
IMAGES, CHUNK, CHUNKS = 16, 6, 3  # of 6, 5 and 5 images
TINY = (
    "data.source.train=64",
    "data.source.test=8",
    f"data.batch_size={IMAGES}",
    "data.holdout=0",
    "eval=none",
    "data.size=16",
)
NO_STATISTICS = ("backbone=timm", "backbone.name=test_vit", "backbone.patch=8")
QUEUE = "latent.queue.size=128"
PROTOTYPES = ("head=prototypes", "head.bottleneck=8", "head.prototypes=8", "head.frozen_epochs=0.0")
EMA = ("teacher=ema", "teacher.start=0.5")
FITTING: dict[str, tuple[str, ...]] = {
    "amcl": ("head=multi",),
    "amcl_cosine": ("head=multi",),
    "dino": (*PROTOTYPES, *EMA),
    "pixcontrast": ("head=dense",),
    "pixpro": ("head=dense", "predictor=propagation", *EMA),
    "swav": (*PROTOTYPES, "latent=[queue]", QUEUE),
    "wmse": ("loss.whitening_size=16",),
}
LOSSES = {file.stem: (f"loss={file.stem}", *FITTING.get(file.stem, ())) for file in CONF.glob("loss/*.yaml")}
PARTS: dict[str, tuple[str, ...]] = {
    "byol": ("loss=cosine", "predictor=mlp", *EMA),
    "simsiam": ("loss=cosine", "predictor=mlp", "teacher=stop_gradient"),
    "moco": ("latent=[queue]", QUEUE, *EMA, "loss.negatives=[]", "online_views=[0]", "target_views=[1]"),
    "mochi": ("latent=[queue,mochi]", QUEUE, *EMA, "loss.negatives=[]", "latent.mochi.hardest=16"),
    "nnclr": ("latent=[queue,neighbours]", QUEUE, "predictor=mlp", "loss=dcl"),
    "ft": ("latent=[queue,ft]", QUEUE, *EMA, "online_views=[0]", "target_views=[1]"),
    "hallucinator": ("latent=[hallucinator]",),
    "whiten": ("latent=[whiten]", "latent.whiten.groups=4"),
    "multicrop": ("views=multicrop", "loss=dcl", *EMA),
    "learned temperature": ("+loss/temperature=learned", "+loss/keep=hardest"),
    "named heads": ("head=branches", "loss=sum", "~loss@loss.losses.koleo", "~loss.weights.koleo")
    + ("+loss@loss.losses.pixels=pixcontrast", "+loss.heads={infonce: instance, pixels: dense}"),
}


def composed(*choices: str) -> Experiment:
    """A run's parts, in float64."""
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        config = compose("config", ["trainer=cpu", *TINY, *choices, "name=test"])
    parts = build(OmegaConf.to_container(config, resolve=True))  # pyright: ignore[reportArgumentType]
    for encoder in encoders(parts.module):
        if hasattr(encoder.backbone.trunk, "blocks"):
            del encoder.backbone.trunk.blocks[2:]
    views: Any = parts.module.double().views
    parts.module.views = lambda batch: tuple(view._replace(image=view.image.double()) for view in views(batch))
    parts.datamodule.setup("fit")
    return parts


def trained(module: Module, batches: list[Batch]) -> dict[str, Tensor]:
    """Losses, the gradients of each step and all state after a few steps of SGD."""
    found: dict[str, Tensor] = {}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    for i, batch in enumerate(batches):
        optimizer.zero_grad()
        loss = module.training_step(batch, i)
        loss.backward()
        found[f"loss {i}"] = loss.detach()
        found |= {f"{k} {i}": p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}
        optimizer.step()
        module.teacher.update(module.encoder, progress=0.0)
    return found | module.state_dict()


def both(change: Any, *choices: str, chunk: int = CHUNK) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two steps of a run with `trainer.cached_batch`, and of one without that has gone through `change`."""
    parts = composed(*choices, f"trainer.cached_batch={chunk}")
    other = copy.deepcopy(parts.module)
    for encoder in encoders(other):
        encoder.chunk = None
        change(encoder)
    batches = [batch for batch, _ in zip(parts.datamodule.train_dataloader(), range(2), strict=False)]
    return trained(parts.module, batches), trained(other, batches)


def encoders(module: Module) -> list[Any]:
    return [module.encoder] if module.teacher.shared else [module.encoder, module.teacher.encoder]


@pytest.mark.parametrize("name", sorted(LOSSES | PARTS))
def test_without_batch_norm_in_the_backbone_it_is_the_whole_batch(name: str) -> None:
    choices = (LOSSES | PARTS)[name]
    plain = {"head=branches", "head=prototypes"}.isdisjoint(choices)
    sizes = ("head.hidden=16", "head.dim=8") if plain else ()
    chunks, whole = both(lambda encoder: None, *NO_STATISTICS, *sizes, *choices)
    exact = 1e-6 if name == "multicrop" else 1e-9  # timm resamples positions in float32
    torch.testing.assert_close(chunks, whole, rtol=exact, atol=exact)
    assert any(key.startswith("encoder.backbone") and key.endswith(" 1") for key in chunks), "no gradient"


def in_a_loop(network: nn.Module) -> None:
    """Let chunks of each view go through a network one by one, with a graph of all of them."""
    forward = network.forward

    def loop(image: Tensor) -> Features:
        parts = [forward(chunk) for chunk in image.tensor_split(CHUNKS)]
        return Features(*(torch.cat(shape) for shape in zip(*parts, strict=True)))

    network.forward = loop


@pytest.mark.parametrize("teacher", [(), ("teacher=ema", "teacher.norm=batch")], ids=["siamese", "ema"])
def test_batch_norms_see_each_chunk_apart_and_count_it_once(teacher: tuple[str, ...]) -> None:
    chunks, loop = both(lambda encoder: in_a_loop(encoder.backbone), "backbone=resnet_tiny", *teacher)
    torch.testing.assert_close(chunks, loop, rtol=1e-9, atol=1e-9)
    steps, views = 2, 2
    assert chunks["encoder.backbone.trunk.bn1.num_batches_tracked"] == steps * views * CHUNKS
    assert chunks["encoder.head.net.1.num_batches_tracked"] == steps * views, "the head sees the whole batch"


def test_chunks_of_a_whole_batch_have_its_statistics() -> None:
    chunks, whole = both(lambda encoder: None, "backbone=resnet_tiny", chunk=IMAGES)
    torch.testing.assert_close(chunks, whole, rtol=1e-9, atol=1e-9)


class Net(nn.Module):
    """A network with dropout that counts its passes, and how many of their activations are held at most."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 8), nn.Dropout(0.5), nn.GELU(), nn.Linear(8, 4)).double()
        self.net[1].register_forward_hook(self.watch)
        self.passes = self.held = self.most = 0

    def watch(self, module: nn.Module, args: Any, activation: Tensor) -> None:
        self.passes, self.held = self.passes + 1, self.held + 1
        self.most = max(self.most, self.held)
        weakref.finalize(activation.untyped_storage(), self.drop)

    def drop(self) -> None:
        self.held -= 1

    def forward(self, image: Tensor) -> Features:
        z = self.net(image.flatten(1))
        return Features(z, z[:, :, None, None], z[:, None])


def gradient(net: Net, image: Tensor, size: int | None) -> list[Tensor]:
    """That of a loss of every output of the whole batch."""
    net.zero_grad()
    torch.manual_seed(1)
    features = net(image) if size is None else in_chunks(net, image, size)
    loss = (
        (features.pooled @ features.pooled.T).tanh().sum() + features.dense.pow(3).sum() + features.tokens.exp().sum()
    )
    torch.rand(7)  # a loss may draw numbers, too
    loss.backward()
    return [loss.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]


def test_dropout_is_the_same_in_both_passes() -> None:
    torch.manual_seed(0)
    net, image = Net(), normal(16, 3, 2, 2)
    chunks = gradient(net, image, CHUNK)
    in_a_loop(net)
    torch.testing.assert_close(chunks, gradient(net, image, None), rtol=1e-12, atol=1e-12)


def test_activations_of_one_chunk_are_held_and_each_is_computed_twice() -> None:
    net, image = Net(), normal(16, 3, 2, 2)
    gradient(net, image, 4)
    assert (net.passes, net.most, net.held) == (8, 1, 0)
    with torch.no_grad():
        in_chunks(net, image, 4)
    assert (net.passes, net.most, net.held) == (12, 1, 0), "once where there is no gradient"
    in_a_loop(net)
    gradient(net, image, None)
    assert net.most == CHUNKS


def test_chunks_lose_no_precision_under_autocast() -> None:
    """The gradient's distance from that of float32 is that of the whole batch."""
    torch.manual_seed(0)
    net, image, weight = Backbone("test_vit", 16, patch=8), torch.randn(64, 3, 16, 16), torch.randn(64, 64)

    def gradients(size: int, enabled: bool) -> Tensor:
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = (in_chunks(net, image, size).pooled.float() * weight).sum()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])

    exact = gradients(64, enabled=False)
    whole, chunks = ((gradients(size, enabled=True) - exact).norm() for size in (64, 2))
    assert 0 < chunks < 1.05 * whole


def test_with_accumulation_and_after_a_stop_it_is_the_same_run(cli: Cli) -> None:
    def weights(run: Path) -> dict[str, Tensor]:
        return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    parts = ("trainer.accumulate=2", "trainer.max_steps=4", "trainer.keep_every=2", "trainer.precision=32-true")
    parts = ("trainer=cpu", *TINY, *NO_STATISTICS, *EMA, *parts, "monitor=none")
    whole, run = cli.run(*parts, "optim=sgd"), cli.run(*parts, "optim=sgd", f"trainer.cached_batch={CHUNK}")
    chunks = weights(run)
    torch.testing.assert_close(chunks, weights(whole), rtol=1e-5, atol=1e-5)
    shutil.copy(run / "checkpoints" / "step-000002.ckpt", run / "checkpoints" / "last.ckpt")
    assert cli(f"resume={run}").code == 0
    torch.testing.assert_close(weights(run), chunks, rtol=0, atol=0)


def test_chunks_that_do_not_fit_are_refused(cli: Cli, generate: Cli) -> None:
    for size in (0, -3):
        assert f"trainer.cached_batch={size}: expected 1 or more" in cli.refuse(f"trainer.cached_batch={size}")
    line = cli.refuse("trainer=cpu", *TINY, "trainer.cached_batch=17")
    assert "trainer.cached_batch=17 is more than the 16 images that a process has of a batch" in line
    assert "than the 8 images" in cli.refuse("trainer=ddp_cpu", *TINY, "trainer.cached_batch=16")
    assert "one image to take statistics of" in cli.refuse("trainer=cpu", *TINY, "trainer.cached_batch=1")
    assert "trainer.cached_batch is for train.py" in generate.refuse(
        "train_generator=ddpm", "trainer.cached_batch=4", "out=out"
    )


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        (("backbone=resnet_tiny",), "whose batch norms use the statistics of these"),
        (NO_STATISTICS, "with the gradient of the whole batch"),
    ],
)
def test_the_log_says_what_holds(caplog: pytest.LogCaptureFixture, backbone: tuple[str, ...], said: str) -> None:
    with caplog.at_level(logging.INFO):
        composed(*backbone, f"trainer.cached_batch={CHUNK}")
    assert f"chunks of at most {CHUNK} of {IMAGES} images go through the backbone, {said}" in caplog.text
