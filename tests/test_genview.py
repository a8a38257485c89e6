"""GenView's recipes are their base methods, but for partners and weights."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import Cli
from foregrounds import save_foreground
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

BASES = ("byol", "mocov3", "simclr", "simsiam", "swav")
SMALL = (
    "trainer=cpu",
    "trainer.max_epochs=null",
    "trainer.max_steps=2",
    "trainer.log_every=1",
    "backbone=resnet_tiny",
    "data.source.train=64",
    "data.source.test=8",
    "data.batch_size=32",
    "head.hidden=64",
    "predictor.hidden=64",
    "monitor=none",
    "eval=none",
)


def composed(*overrides: str) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", [*overrides, "name=test"]), resolve=True)
    return config


@pytest.mark.parametrize("base", BASES)
def test_nothing_else_is_changed(base: str) -> None:
    theirs, ours = composed(f"experiment={base}"), composed(f"experiment=genview_{base}")
    assert {key for key in theirs if theirs[key] != ours[key]} == {"views", "latent"}
    assert ours["views"] == {
        "_target_": "sslab.datamodules.views.Paired",
        "probability": 1.0,
        "source": theirs["views"],
    }
    assert [*ours["latent"]] == [*theirs["latent"], "quality"]
    assert all(ours["latent"][name] == node for name, node in theirs["latent"].items())


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return [*csv.DictReader(file)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_without_partners_and_weights_it_is_the_base_method(cli: Cli, generate: Cli) -> None:
    foreground = f"latent.quality.foreground={save_foreground(cli.folder / 'foreground')}"
    assert generate("trainer=cpu", "data.source.train=64", "data.source.test=8", "out=partners").code == 0
    ours = (*SMALL, "experiment=genview_byol", "data.partners=partners", foreground)
    base = cli.run(*SMALL, "experiment=byol")
    off = cli.run(*ours, "views.probability=0", "latent.quality.gamma=0")
    on = cli.run(*ours)
    assert [row["loss"] for row in metrics(off)] == [row["loss"] for row in metrics(base)]
    assert [row["loss"] for row in metrics(on)] != [row["loss"] for row in metrics(base)]
    assert weights(off).keys() - weights(base).keys() == {"latent.0.direction"}  # the encoder is not among them
    assert all(torch.equal(weights(off)[name], value) for name, value in weights(base).items())
    assert [float(row["latent/weight_std"]) for row in metrics(off) if row["loss"]] == [0, 0]
    for row in metrics(on):
        low, high = float(row["latent/weight_min"]), float(row["latent/weight_max"])
        assert 0 < low < 1 < high
        assert float(row["latent/weight_std"]) > 0
        assert -1 <= float(row["latent/background_similarity"]) <= 1
