import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import outcomes
from samples import images
from sslab.datamodules.views.plain import Plain
from sslab.eval.features.extract import Pixels, extract
from sslab.eval.features.feature_cache import Disk, fingerprint
from sslab.ssl.core.distributed import agreed, barrier
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Features
from sslab.ssl.model.backbones import Backbone
from sslab.ssl.model.layers import Layered
from torch import Tensor, nn

CPU = torch.device("cpu")
VIEW = Plain(16, [0.5] * 3, [0.25] * 3)


class Counted(nn.Module):
    """Counts the images that go through it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Features:
        self.seen += len(image)
        found = Pixels(2)(image)
        return found._replace(pooled=found.pooled * self.scale)


def layered() -> Layered:
    torch.manual_seed(0)
    return Layered(Backbone("resnet_tiny", 16))


def test_equals_extraction_in_memory(tmp_path):
    setting: Any = (layered(), images(21), VIEW, CPU, 8)
    kept = Disk(tmp_path)(*setting, layers=["h", "pool_2"])
    memory = extract(*setting, layers=["h", "pool_2"])
    assert kept.features.equal(memory.features)
    assert kept.others["pool_2"].equal(memory.others["pool_2"])
    assert kept.row.equal(memory.row)
    assert kept.label.equal(memory.label)
    assert kept.layers == memory.layers
    assert kept.meta == {**memory.meta, "backbone": fingerprint(layered())}


def test_the_same_is_not_extracted_twice_and_anything_else_is(tmp_path):
    disk, backbone, data = Disk(tmp_path), Counted(), images(10)
    first = disk(backbone, data, VIEW, CPU)
    relabelled = images(10)
    relabelled.label[:] = 2
    second = disk(backbone, relabelled, VIEW, CPU)
    assert backbone.seen == 10
    assert second.features.equal(first.features)
    assert second.label.tolist() == [2] * 10  # labels are those of the images at hand
    changes: list[Any] = [
        lambda: disk(backbone, images(10, seed=1), VIEW, CPU),
        lambda: disk(backbone, data, Plain(16, [0.4] * 3, [0.25] * 3), CPU),
        lambda: disk(backbone, data, VIEW, CPU, precision="bf16-mixed"),
        lambda: disk(backbone, data, VIEW, CPU, batch_size=3),
        lambda: (nn.init.constant_(backbone.scale, 2.0), disk(backbone, data, VIEW, CPU)),
    ]
    for number, change in enumerate(changes, start=2):
        change()
        assert backbone.seen == 10 * number


def test_a_further_layer_leaves_those_that_are_there(tmp_path):
    disk, backbone = Disk(tmp_path), layered()
    disk(backbone, images(9), VIEW, CPU)
    (place,) = tmp_path.iterdir()
    before = (place / "features.f16").stat().st_mtime_ns
    store = disk(backbone, images(9), VIEW, CPU, layers=["h", "pool_2"])
    assert store.layers == ("h", "pool_2")
    assert (place / "features.f16").stat().st_mtime_ns == before
    layers = {json.loads((folder / "about.json").read_text())["layer"] for folder in tmp_path.iterdir()}
    assert layers == {"h", "pool_2"}


def test_a_pass_that_failed_leaves_nothing(tmp_path):
    class Failing(Counted):
        def forward(self, image: Tensor) -> Features:
            if self.seen:
                raise KeyboardInterrupt
            return super().forward(image)

    with pytest.raises(KeyboardInterrupt):
        Disk(tmp_path)(Failing(), images(10), VIEW, CPU, batch_size=4)
    assert list(tmp_path.iterdir()) == []


def test_unreadable_images_are_left_out(tmp_path, caplog):
    class Broken:
        stack = None
        label, factors, factor_names = images(9).label, images(9).factors, ()

        def __len__(self) -> int:
            return 9

        def read(self, row: int) -> Tensor:
            if row in (0, 5):
                raise OSError("broken")
            return images(9).read(row)

        def fingerprint(self) -> str:
            return "broken"

    store = Disk(tmp_path)(Pixels(2), Broken(), VIEW, CPU, batch_size=4)
    assert store.row.tolist() == [1, 2, 3, 4, 6, 7, 8]
    assert store.features.equal(extract(Pixels(2), images(9), VIEW, CPU).features[store.row])
    assert "2 of 9 images cannot be read" in caplog.text


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write features to .*file.*set features=<a folder>"):
        Disk(tmp_path / "file")(Pixels(2), images(3), VIEW, CPU)


def shared() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as own:
        folder = Path(agreed(own))
        store = Disk(folder)(layered(), images(37), VIEW, CPU, 5, layers=["h", "pool_2"])
        found = {"h": store.features.clone(), "pool_2": store.others["pool_2"].clone(), "row": store.row}
        left = sorted(path.name[0] for path in folder.iterdir())
        barrier()
        return found | {"left": left}


def test_the_same_on_any_number_of_ranks(tmp_path):
    alone = shared()
    assert len(alone["left"]) == 2
    for everyone in outcomes(shared, (2, 3), tmp_path).values():
        for found in everyone:
            assert found["row"].tolist() == list(range(37))
            assert all(found[layer].equal(alone[layer]) for layer in ("h", "pool_2"))
            assert "." not in found["left"]
