from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sslab import conf
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.paired import Paired
from sslab.datamodules.views.plain import Plain
from sslab.datamodules.views.several import Several
from sslab.ssl.step import Batch

FOLDER = Path(str(conf.__file__)).parent / "views"
DATA = {"size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_makes_views(file: Path) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        views = compose("config", [f"views={file.stem}", "name=test"])._get_node("views")
    config = OmegaConf.create({"data": DATA, "views": views})
    source = instantiate(config.views, _convert_="all")
    assert isinstance(source, Augment | Plain | Several | Paired)
    views = source(Batch.of(torch.zeros(4, 3, 20, 20, dtype=torch.uint8)))
    side = {"global": 16, "local": 8}
    assert all(view.image.shape == (4, 3, side[view.kind], side[view.kind]) for view in views)
    assert list(source.targets) == [v for v, view in enumerate(views) if view.kind == "global"]
    assert len(source.targets) >= 2
    assert all(view.image.isfinite().all() for view in views)
