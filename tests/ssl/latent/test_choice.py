"""Latent parts are chosen as a list, whose order they keep."""

from pathlib import Path
from typing import Any

import pytest
from cli import SMALL, Cli
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra


def latent(*overrides: str) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        return compose("config", [*overrides, "name=test"]).latent


@pytest.mark.parametrize("overrides", [[], ["latent=[]"]])
def test_nothing_chosen_is_an_empty_choice(overrides):
    assert latent(*overrides) == {}


@pytest.mark.parametrize(
    "names", [["queue"], ["queue", "mochi"], ["mochi", "queue"], ["whiten", "queue", "neighbours"], ["queue", "ft"]]
)
def test_the_order_is_that_of_the_list(names):
    assert list(latent(f"latent=[{','.join(names)}]")) == names


def test_one_part_needs_no_list_and_takes_values():
    chosen = latent("latent=queue", "latent.queue.size=4096")
    assert list(chosen) == ["queue"]
    assert chosen.queue.size == 4096


def test_an_experiment_chooses_parts_and_values(tmp_path: Path):
    (tmp_path / "experiment").mkdir()
    lines = ["# @package _global_", "defaults: [{override /latent: [queue, mochi]}]", "latent: {queue: {size: 512}}"]
    (tmp_path / "experiment" / "mine.yaml").write_text("\n".join(lines))
    mine = ("experiment=mine", f"hydra.searchpath=[file://{tmp_path}]")
    chosen = latent(*mine, "latent.mochi.mixed=7")
    assert list(chosen) == ["queue", "mochi"]
    assert (chosen.queue.size, chosen.mochi.mixed) == (512, 7)
    assert list(latent(*mine, "latent=[queue,neighbours]")) == ["queue", "neighbours"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["latent=[queue,mochy]"], "mochy"),
        (["latent=[queue]", "latent.queue.size=100"], "does not hold whole batches of 32"),
        (["latent=[queue]", "latent.queue.size=96"], "does not hold whole batches of 64"),
        (["latent=[mochi,queue]"], "MoCHi works on the memory"),
        (["latent=[queue,ft]"], "2 pairs of views"),
        (["latent=[hallucinator]", "latent.hallucinator.partner=query", "online_views=[0]"], "views [1] have no query"),
        (["latent=[queue,hallucinator]", "latent.hallucinator.literal=true"], "put hallucinator before queue"),
        (["latent=[whiten]", "latent.whiten.groups=3"], "128 channels do not split into groups=3"),
        (["latent=[whiten]"], "a batch of 32 tells too little of groups of 64 channels"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(cli: Cli, arguments, expected):
    assert expected in cli.refuse(*SMALL, *arguments)
