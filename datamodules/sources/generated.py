"""Images that a generator has made: in a folder, in parquet files, or as an array."""

from glob import escape
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from ...ssl.core.errors import UserError
from ..reading.images import ImageSet, Stack
from .folder import Folder
from .parquet import Parquet

COLUMN = "image"  # of parquet files


def generated_images(path: str | None, size: int | None = None, held: int | None = None) -> ImageSet | None:
    """Return the images at `path`: a folder of images or parquet files, one parquet file, or an npz file of one array.

    Args:
        path: where they are; None: there are none.
        size: side of the views, which tells how small a JPEG may be decoded.
        held: side that images of files are resized and cut to, if any.
    """
    if path is None:
        return None
    place = Path(path).expanduser()
    if place.suffix == ".npz" and place.is_file():
        return _array(place)
    if place.is_dir() and not any(place.rglob("*.parquet")):
        return Folder(str(place), labels="none", size=size, held=held).train
    if not place.exists():
        raise UserError(
            f"data.generated={path} is missing: give a folder of images or of parquet files, a parquet file or an npz "
            "file"
        )
    pattern = escape(str(place)) + ("/**/*.parquet" if place.is_dir() else "")
    return Parquet(pattern, image=COLUMN, size=size, held=held).train


def _array(file: Path) -> Stack:
    """The images in an npz file, (n, H, W, 3) or (n, 3, H, W), whatever their name."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            arrays = [content[name] for name in content.files]
    except (OSError, EOFError, TypeError, ValueError, BadZipFile) as error:
        raise UserError(f"data.generated={file} cannot be read ({error}): expected what numpy.savez writes") from error
    found = [array for array in arrays if array.ndim == 4 and array.dtype == np.uint8 and 3 in array.shape[1::2]]
    if len(found) != 1 or not len(found[0]):
        shapes = ", ".join(f"{array.dtype} {array.shape}" for array in arrays) or "nothing"
        raise UserError(
            f"data.generated={file} holds {shapes}: expected one array of uint8 (n, H, W, 3) or (n, 3, H, W)"
        )
    stack = torch.from_numpy(found[0])
    stack = stack.permute(0, 3, 1, 2) if stack.shape[3] == 3 else stack
    return Stack.of(stack, torch.full((len(stack),), -1), ())
