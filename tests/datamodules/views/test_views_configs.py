from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sslab import conf
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.multi_source import Several
from sslab.datamodules.views.paired import Paired
from sslab.datamodules.views.plain import Plain
from sslab.ssl.core.step import Batch

FOLDER = Path(str(conf.__file__)).parent / "views"
DATA = {"size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}


def source_of(name: str) -> Augment | Plain | Several | Paired:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        views = compose("config", [f"views={name}", "name=test"])._get_node("views")
    config = OmegaConf.create({"data": DATA, "views": views})
    source = instantiate(config.views, _convert_="all")
    assert isinstance(source, Augment | Plain | Several | Paired)
    return source


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_makes_views(file: Path) -> None:
    source = source_of(file.stem)
    views = source(Batch.of(torch.zeros(4, 3, 20, 20, dtype=torch.uint8)))
    side = {"global": 16, "local": 8}
    assert all(view.image.shape == (4, 3, side[view.kind], side[view.kind]) for view in views)
    assert list(source.targets) == [v for v, view in enumerate(views) if view.kind == "global"]
    assert len(source.targets) >= 2
    assert all(view.image.isfinite().all() for view in views)


def test_crops_of_dino_are_those_of_the_paper() -> None:
    source = source_of("multicrop_dino")
    assert isinstance(source, Several)
    colours = {"jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "grey": 0.2}
    same = (
        DATA | colours | {"flip": 0.5, "ratio": [0.75, 1.3333333], "interpolation": "bicubic", "blur_sigma": [0.1, 2.0]}
    )
    large = {"scale": [0.4, 1.0], "blur": [1.0, 0.1], "solarise": [0.0, 0.2]}
    small = {"scale": [0.05, 0.4], "blur": 0.5, "count": 6, "shrink": 2, "kind": "local"}
    assert source.sources == {"large": Augment(**same, **large), "small": Augment(**same, **small)}
