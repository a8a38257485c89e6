"""A table of image pairs: frames of a video, neighbours, before and after."""

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool
from torch import Tensor

from ..reading.images import ImageSet
from ..reading.subset import Subset
from ..reading.table import Table
from .csv_list import Asked, Listed
from .parquet import Parquet, found, image_column
from .partners import CACHE_MIB, Partners


class Pairs:
    """Images to train on with their partners and, perhaps, images to test on, of which no partner is looked at.

    A table is a CSV file with the paths of images and partners, relative to its folder, or parquet files, by a path or
    a glob, with their bytes. An image without a partner has an empty place there.

    Args:
        train: path or glob.
        test: path or glob, of the same kind.
        image: column of the images.
        partner: column of their partners.
        label: column of integers or strings; found by its name unless given.
        size: side of the views, which tells how small a JPEG may be decoded.
        held: side that images are resized and cut to, if any.
    """

    def __init__(
        self,
        train: str,
        test: str | None = None,
        image: str = "image",
        partner: str = "partner",
        label: str | None = None,
        size: int | None = None,
        held: int | None = None,
    ) -> None:
        asked = Asked(train, test, image, partner, label, size, held)
        source = Listed(asked) if train.endswith(".csv") else InParquet(asked)
        self.train: ImageSet = source.train
        self.test: ImageSet | None = source.test
        self.partners: Partners = source.partners


class InParquet(Parquet):
    """Both images of a pair as bytes in columns of parquet files."""

    def __init__(self, asked: Asked) -> None:
        train, test, image, partner, label, size, held = asked
        super().__init__(train, test, image, label, size, held)
        files = found("train", train)
        partner = image_column(pq.read_schema(files[0]), partner, "partner")
        there = _there(files, partner)
        table = Table(files, partner, torch.full((len(there),), -1), (), size, held, CACHE_MIB)
        self.partners = Partners.of(Subset(table, there.nonzero()[:, 0]), there)


def _there(files: list[str], column: str) -> Bool[Tensor, " n"]:
    """Tell of every row whether there are bytes."""
    table = ds.dataset(files)
    record = table.schema.field(column).type.num_fields > 0
    content = ds.field(column, "bytes") if record else ds.field(column)
    there = table.to_table(columns={"there": content > b""}).column("there")
    return torch.tensor(there.fill_null(False).to_numpy())
