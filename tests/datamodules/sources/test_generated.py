from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sslab.datamodules.sources.generated import generated_images
from sslab.ssl.core.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), np.uint8)


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2)], ids=["channels last", "channels first"])
def test_an_array(tmp_path: Path, axes: tuple[int, ...]) -> None:
    np.savez(tmp_path / "samples.npz", image=PIXELS.transpose(axes), label=np.arange(6))
    images = generated_images(str(tmp_path / "samples.npz"))
    assert len(images) == 6
    assert torch.equal(images.read(4), torch.from_numpy(PIXELS[4]).permute(2, 0, 1))


def test_a_folder_in_any_arrangement(paint: Any, tmp_path: Path) -> None:
    for i in range(5):
        paint(f"train/{'ab'[i % 2]}/{i}.png", 12, 10)
    images = generated_images(str(tmp_path), held=8)
    assert len(images) == 5
    assert images.label.tolist() == [-1] * 5
    assert images.read(0).shape == (3, 8, 8)


def test_parquet_files_in_a_folder_whose_name_is_a_pattern(paint: Any, tmp_path: Path) -> None:
    content = [paint(f"{i}.png", 12, 10).read_bytes() for i in range(4)]
    folder = tmp_path / "set[1]"
    folder.mkdir()
    for part in range(2):
        rows = content[2 * part : 2 * part + 2]
        pq.write_table(pa.table({"image": rows, "thumbnail": rows}), folder / f"part-{part}.parquet")
    (folder / "part-2.parquet.tmp").write_bytes(b"not whole")
    assert len(generated_images(str(folder))) == 4
    assert len(generated_images(str(folder / "part-1.parquet"))) == 2


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"image": PIXELS.astype(np.float32)}, "float32 (6, 10, 12, 3)"),
        ({"image": PIXELS[0]}, "uint8 (10, 12, 3)"),
        ({"a": PIXELS, "b": PIXELS}, "uint8 (6, 10, 12, 3), uint8"),
        ({"image": PIXELS[:0]}, "uint8 (0, 10, 12, 3)"),
        ({}, "nothing"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, arrays: dict[str, Any], found: str) -> None:
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(UserError) as error:
        generated_images(str(tmp_path / "samples.npz"))
    assert f"holds {found}" in str(error.value)


def test_what_is_not_there_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing: give a folder of images"):
        generated_images(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="is missing"):
        generated_images(str(tmp_path / "nowhere.npz"))
    for content in (b"PK\x03\x04 cut off", b"", b"no archive"):
        (tmp_path / "samples.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"samples.npz cannot be read"):
            generated_images(str(tmp_path / "samples.npz"))
    np.save(tmp_path / "samples.npy", PIXELS)
    (tmp_path / "samples.npy").rename(tmp_path / "samples.npz")
    with pytest.raises(UserError, match=r"samples.npz cannot be read"):
        generated_images(str(tmp_path / "samples.npz"))
    with pytest.raises(UserError, match="no image in"):
        generated_images(str(tmp_path))
