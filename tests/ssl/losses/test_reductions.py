"""What docs/losses.md says of a loss holds: it is written from what is tested here."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from sslab.ssl.config.make import make
from sslab.ssl.core.step import Step
from torch import Tensor

DOCS = Path(__file__).parents[3] / "docs"
TABLE = runpy.run_path(str(DOCS / "losses.py"))
NAMES = sorted(file.stem for file in (DOCS.parent / "conf" / "loss").glob("*.yaml"))


def value_and_gradient(name: str, options: dict[str, Any], reduction: Any) -> tuple[Tensor, Tensor]:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        config = compose("config", [f"loss={name}", "name=test"]).loss
    for key, value in options.items():
        OmegaConf.update(config, key, value, force_add=True)
    node: Any = OmegaConf.to_container(config)
    loss = make(node, seed=0, rows=8, classes=10, dim=4, epochs=1.0)
    shape = (reduction.views, 8, 4)
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    views = dict(enumerate(z))
    step = Step.of({0: z[0]}, {1: z[1]}) if reduction.one_way else Step.of(views, views)
    total = loss(step).total
    return total.detach(), torch.autograd.grad(total, z)[0]


@pytest.mark.parametrize(
    ("name", "reduction"), [(name, reduction) for name, all_of in TABLE["REDUCTIONS"].items() for reduction in all_of]
)
def test_a_loss_reduces_to_another(name, reduction):
    ours = value_and_gradient(name, reduction.when, reduction)
    other = value_and_gradient(reduction.to, reduction.options, reduction)
    first = 1 if reduction.gradient_only else 0
    expected = tuple(reduction.factor * x for x in other)
    torch.testing.assert_close(ours[first:], expected[first:], rtol=1e-6, atol=1e-8)  # temperatures are kept in float32


def test_the_page_is_what_the_code_says():
    assert TABLE["markdown"]() == (DOCS / "losses.md").read_text(), "run: python docs/losses.py"


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_has_its_row(name):
    assert f"[`{name}`](#{name})" in TABLE["markdown"]()
    assert TABLE["COST"][name]
    assert TABLE["paper"](name) or name == "sum"
