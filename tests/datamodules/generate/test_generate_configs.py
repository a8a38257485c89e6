"""Every choice of the program composes and is accepted by its constructor, and `--help` names it."""

from pathlib import Path

import pytest
from cli import Cli
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from sslab.ssl.config.signature import check

CONF = Path(__file__).parents[3] / "conf"
GROUPS = ("generator", "train_generator", "foreground")
CHOICES = [(group, file.stem) for group in GROUPS for file in CONF.glob(f"{group}/*.yaml")]


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda text: text)
def test_every_choice_is_accepted_by_its_constructors(group: str, choice: str) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        config = compose("generate", [f"{group}={choice}", "out=somewhere"])
    if OmegaConf.is_missing(config.generator, "folder"):
        config.generator.folder = "somewhere"
    check(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


def test_help_names_every_choice(generate: Cli) -> None:
    shown = generate("--help").out
    for group, choice in CHOICES:
        assert choice in shown.split(f"\n{group}: ")[1].split("\n")[0].split(", ")
