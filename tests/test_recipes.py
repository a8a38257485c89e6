"""Published settings are data: a recipe that names a source has the settings in its row of `published.py`."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from published import GENVIEW, NO_SOURCE, PUBLISHED, Schedule, Views
from sslab.heads.branches import Branches, BranchPredictors
from sslab.heads.multi import MultiLinear, MultiMLP
from sslab.heads.prototypes import Prototypes
from sslab.ssl.config.make import make
from torch import nn

EXPERIMENTS = Path(__file__).parents[1] / "conf" / "experiment"
DIM = 512  # of the features of a ResNet-18
ACTIVATIONS = {nn.ReLU: "ReLU", nn.GELU: "GELU"}


@cache
def composed(name: str) -> dict[str, Any]:
    if not GlobalHydra.instance().is_initialized():
        initialize_config_module("sslab.conf", version_base="1.3")
    config = compose("config", [f"experiment={name}", "name=test"])
    return OmegaConf.to_container(config, resolve=True)  # pyright: ignore[reportReturnType]


@pytest.fixture(autouse=True, scope="module")
def hydra() -> Any:
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


def spelled(part: nn.Module) -> Any:
    """The layers of a head or a predictor, as `published.py` writes them."""
    if isinstance(part, Branches):
        return {name: spelled(head) for name, head in part.heads.items()}
    if isinstance(part, BranchPredictors):
        return {name: spelled(predictor) for name, predictor in part.predictors.items()}
    if isinstance(part, nn.Identity):
        return "-"
    net: Any = part.net
    if isinstance(net, MultiMLP):
        return f"{net.heads} x ({layers(net.net)})"
    return f"{layers(net)}, {len(part.prototypes)} prototypes" if isinstance(part, Prototypes) else layers(net)


def layers(net: nn.Sequential) -> str:
    return " ".join(layer(module) for module in net)


def layer(module: nn.Module) -> str:
    if isinstance(module, nn.Linear | MultiLinear):
        return str(module.weight.shape[0 if isinstance(module, nn.Linear) else 2])
    if isinstance(module, nn.BatchNorm1d):
        learned = sum(parameter.requires_grad for parameter in module.parameters())
        return ("BN(fixed)", "BN(scale)", "BN")[learned]
    return "LN" if isinstance(module, nn.LayerNorm) else ACTIVATIONS[type(module)]


def setting(config: dict[str, Any], path: str) -> Any:
    node: Any = config
    for key in path.split("."):
        node = node[key]
    return node


def test_every_recipe_has_its_source_or_a_reason_for_none() -> None:
    names = sorted(file.stem for file in EXPERIMENTS.glob("*.yaml"))
    assert names == sorted([*PUBLISHED, *GENVIEW, *NO_SOURCE])


@pytest.mark.parametrize("name", PUBLISHED)
def test_head_and_predictor_are_the_published_ones(name: str) -> None:
    config, row = composed(name), PUBLISHED[name]
    with torch.device("meta"):  # nothing is computed
        head = make(config["head"], in_dim=DIM, dense_dim=DIM)
        predictor = make(config["predictor"], in_dim=head.dim)
    if row.head is not None:
        assert spelled(head) == row.head
    if row.predictor is not None:
        assert spelled(predictor) == row.predictor


@pytest.mark.parametrize("name", [name for name, row in PUBLISHED.items() if row.optim])
def test_optimiser_and_schedule_are_the_published_ones(name: str) -> None:
    config, expected = composed(name), PUBLISHED[name].optim
    assert expected is not None
    optim, trainer = make(config["optim"]), config["trainer"]
    length = trainer["max_epochs"] or trainer["max_steps"]
    found = Schedule(
        *(optim.name, optim.peak(256), optim.scaling, optim.weight_decay, optim.warmup * length, length),
        config["data"]["batch_size"],
        optim.options,
    )
    for field, value, wanted in zip(Schedule._fields, found, expected, strict=True):
        assert wanted is None or value == pytest.approx(wanted), field
    if optim.name in ("sgd", "lars"):
        assert optim.momentum == 0.9


@pytest.mark.parametrize("name", [name for name, row in PUBLISHED.items() if row.views])
def test_views_are_the_published_ones(name: str) -> None:
    views = composed(name)["views"]
    strengths = [views[part] for part in ("brightness", "contrast", "saturation", "hue")]
    found = Views(
        *(views["scale"][0], (views["jitter"], *strengths), views["blur"], views["solarise"], views["grey"]),
        views["interpolation"],
    )
    expected = PUBLISHED[name].views
    assert expected is not None
    assert found._replace(interpolation=expected.interpolation and found.interpolation) == expected
    assert views["blur_kernel"] is None  # as wide as the Gaussian
    assert views["scale"][1] == 1.0
    assert views["flip"] == 0.5


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, row in PUBLISHED.items() for path in row.also])
def test_what_else_a_source_states_is_set(name: str, path: str) -> None:
    assert setting(composed(name), path) == PUBLISHED[name].also[path]


@pytest.mark.parametrize(("name", "base"), GENVIEW.items())
def test_genview_is_its_base_but_for_views_and_weights(name: str, base: str) -> None:
    config, expected = dict(composed(name)), dict(composed(base))
    views, latent = config.pop("views"), dict(config.pop("latent"))
    assert (views["source"], views["probability"]) == (expected.pop("views"), 1.0)
    assert latent.pop("quality")["gamma"] == 1.0
    assert latent == expected.pop("latent")
    assert config == expected
