"""What is set on top of `data` reaches the data set behind it."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sslab.datamodules.datamodule import DataModule
from sslab.datamodules.sources.folder import Folder


def composed(*overrides: str) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        node = compose("config", list(overrides)).data
    OmegaConf.resolve(node)
    return OmegaConf.to_container(node)  # pyright: ignore[reportReturnType]


def test_a_folder(paint: Any, tmp_path: Path) -> None:
    for i in range(40):
        paint(f"{'ab'[i % 2]}/{i}.png", 12, 10)
    quick = ("data.test_fraction=0", "data.batch_size=8", "data.holdout=4", "data.held=6", "data.resident=true")
    node = composed("data=folder", f"data.root='{tmp_path}'", *quick)
    data = instantiate(node, seed=0, _convert_="all")
    assert isinstance(data, DataModule)
    assert len(data.held_out) == 4
    data.setup("fit")
    assert next(iter(data.train_dataloader())).images.shape == (8, 3, 6, 6)
    assert isinstance(instantiate(node["source"]), Folder)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("data=parquet", "data.train=a", "data.test=b", "data.label=c"), {"train": "a", "test": "b", "label": "c"}),
        (("data=cifar100", "data.root=x", "data.download=true"), {"root": "x", "download": True}),
        (("data=folder", "data.root=x", "data.labels=none", "data.size=48"), {"labels": "none", "size": 48}),
    ],
)
def test_short_overrides(overrides: tuple[str, ...], expected: dict[str, Any]) -> None:
    assert expected.items() <= composed(*overrides)["source"].items()
