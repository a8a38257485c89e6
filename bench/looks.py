"""The quality of pairs if their encoder sees less: the rank correlation with what it is now.

    python -m bench.looks <folder of foreground=pca> [--rows 512] [choices of an experiment, such as views=simclr]

The encoder is shown smaller views; the views without their changes of colour; or each image as a whole, once, whose
patches are cropped as the views are. Only the last could be kept from epoch to epoch.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from sslab.datamodules.views.paired import Paired
from sslab.ssl.core.step import Batch, View
from sslab.ssl.latent.quality import compare
from sslab.ssl.pretrained.foreground import Foreground
from sslab.ssl.pretrained.frozen_encoder import Frozen
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.ops import roi_align
from torchvision.transforms.v2.functional import normalize

from .lab import experiment

SHARES = (7 / 8, 3 / 4, 5 / 8, 1 / 2)  # of the side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("foreground")
    parser.add_argument("--rows", type=int, default=512)
    options, choices = parser.parse_known_args()
    parts = experiment("experiment=demo", f"data.batch_size={options.rows}", *choices)
    parts.datamodule.prepare_data()
    parts.datamodule.setup("fit")
    batch = next(iter(parts.datamodule.train_dataloader()))
    direction, _, encoder = Foreground.load(options.foreground)
    whole = None
    for name, a, b in looks(encoder, parts.module.views, batch):
        similarity = compare(a, b, direction)
        quality = similarity.foreground - similarity.background
        whole = quality if whole is None else whole
        print(f"{name:24} {spearmanr(whole, quality).statistic:6.2f}   deviation {quality.std():.3f}")


def looks(encoder: Frozen, source: Any, batch: Batch) -> Iterator[tuple[str, Tensor, Tensor]]:
    """A name, and the patches of two views: first as they are."""
    views, side = source(batch)[:2], max(source.sides)
    mean, std = source.mean, source.std

    def crops(own: Tensor, other: Tensor) -> Iterator[Tensor]:
        """The views' shares of what is made of the images, and of their partners where they show them."""
        for number, view in enumerate(views):
            partners = source.shown(batch) == number if isinstance(source, Paired) else torch.zeros(1, dtype=torch.bool)
            yield cropped(other.where(partners[:, None, None, None], own), view)

    yield "views", *(encoder.look(view.image, mean, std) for view in views)
    for share in SHARES:
        small = (interpolate(view.image, (round(share * side),) * 2, mode="bilinear", antialias=True) for view in views)
        yield f"views of {round(share * side)} px", *map(encoder, small)
    pixels = [normalize(part / 255, mean, std) for part in (batch.images, batch.partner) if part.numel()]
    yield "crops in colour", *(encoder.look(crop, mean, std) for crop in crops(pixels[0], pixels[-1]))
    maps = [encoder.look(part, mean, std) for part in pixels]
    yield "whole images, cropped", *crops(maps[0], maps[-1])


def cropped(maps: Float[Tensor, "b d h w"], view: View) -> Float[Tensor, "b d h w"]:
    height, width = maps.shape[2:]
    boxes = view.box * view.box.new_tensor([width, height, width, height])
    return roi_align(maps, list(boxes[:, None].float()), (height, width), sampling_ratio=2, aligned=True)


if __name__ == "__main__":
    main()
