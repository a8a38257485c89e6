"""Every choice composes, is accepted by its constructor, and reaches the part it is for."""

from pathlib import Path

import pytest
import yaml
from cli import Cli
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf, open_dict
from sslab.ssl.config.make import make
from sslab.ssl.config.signature import check

CONF = Path(__file__).parents[1] / "conf"
ELSEWHERE = {"generator", "train_generator", "foreground", "protocol"}  # groups of other programs
CHOICES = sorted((f.parent.name, f.stem) for f in CONF.glob("*/*.yaml") if f.parent.name not in ELSEWHERE)
MISSING = {
    "backbone.name": "resnet18",
    "data.root": "somewhere",
    "data.train": "some.parquet",
    "data.generated": "samples",
}


def composed(*overrides: str) -> dict:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        config = compose("config", [*overrides, "name=test"])
    with open_dict(config):
        for key, value in MISSING.items():
            if OmegaConf.is_missing(config[key.split(".")[0]], key.split(".")[1]):
                OmegaConf.update(config, key, value)
    return OmegaConf.to_container(config, resolve=True)  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda text: text)
def test_every_choice_is_accepted_by_its_constructors(group: str, choice: str) -> None:
    check(composed(f"{group}={choice}"))


@pytest.mark.parametrize("experiment", [c for g, c in CHOICES if g == "experiment"])
def test_every_key_of_an_experiment_survives_composition(experiment: str) -> None:
    written = yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())
    config = composed(f"experiment={experiment}")

    def survives(node: dict, kept: dict, path: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                survives(value, kept[key], f"{path}{key}.")
            elif key not in ("defaults", "name"):
                assert kept[key] == value or value == "???" or "${" in str(value), f"{path}{key}"

    survives(written, config, "")


def test_help_names_every_group_and_choice(cli: Cli) -> None:
    shown = cli("--help").out
    for group, choice in CHOICES:
        assert f"{group}: " in shown
        assert choice in shown.split(f"\n{group}: ")[1].split("\n")[0]


def test_a_seed_changes_no_data_set():
    """The images of shapes are drawn from a seed of their own."""
    stacks = []
    for seed in (0, 1):
        with initialize_config_module("sslab.conf", version_base="1.3"):
            few = ("data.source.train=8", "data.source.test=8", "data.batch_size=4")
            config = compose("config", [*few, f"seed={seed}"])
        data = make(OmegaConf.to_container(config.data, resolve=True), seed=config.seed, accumulate=1)
        stacks.append(data.train_images.stack)
    assert stacks[0].equal(stacks[1])
