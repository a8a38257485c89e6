"""Speed of two SimCLR views on one core or a GPU, beside torchvision (image by image, on a core) and kornia (by batch).

python -m bench.views [--device cuda] [--sides 32 224] [--images 512] [--rounds 10]
"""

import argparse
from collections.abc import Callable

import kornia.augmentation as K
import torch
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.resample import Interpolation
from sslab.ssl.core.step import Batch
from torch import Tensor
from torchvision.transforms import v2

from .lab import now

CASES: tuple[tuple[int, int, int, float, Interpolation], ...] = (
    # side of view and image, batch, probability of blur: SimCLR has none on CIFAR
    (32, 32, 512, 0.0, "bilinear"),
    (32, 32, 512, 0.5, "bilinear"),
    (32, 32, 512, 0.5, "bicubic"),
    (64, 64, 128, 0.5, "bilinear"),
    (96, 96, 64, 0.5, "bilinear"),
    (224, 256, 32, 0.5, "bilinear"),
    (224, 256, 32, 0.5, "bicubic"),
)
KERNEL = 13  # pixels of the blur's side, for all: what Augment's own choice is
ONE_BY_ONE = 64  # images at most that torchvision is timed on
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--sides", type=int, nargs="*", help="of views; all without it")
    parser.add_argument("--images", type=int, help="of a batch, instead of each case's own number")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"two-view samples per second on {options.device}, of torchvision on one core\n")
    print(f"{'view':>6}{'image':>7}{'blur':>6}{'crops':>10}{'sslab':>11}{'torchvision':>13}{'kornia':>11}")
    for size, side, b, blur, crops in CASES:
        if options.sides and size not in options.sides:
            continue
        ours, theirs, kornia = _compare(size, _images(side, options.images or b), blur, crops, options)
        print(f"{size:>6}{side:>7}{blur:>6}{crops:>10}{ours:>11,.0f}{theirs:>13,.0f}{kornia:>11,.0f}", flush=True)


def _compare(
    size: int, images: Tensor, blur: float, crops: Interpolation, options: argparse.Namespace
) -> tuple[float, float, float]:
    """Samples per second."""
    device, few, there = options.device, images[:ONE_BY_ONE], images.to(options.device)
    ours = Augment(size=size, mean=MEAN, std=STD, blur=blur, blur_kernel=KERNEL, interpolation=crops)
    one_by_one, by_batch = _torchvision(size, blur, crops), _kornia(size, blur, crops).to(device)
    batch = Batch.of(there)
    return (
        len(images) / _seconds(lambda: ours(batch), options.rounds, device),
        len(few) / _seconds(lambda: [one_by_one(image) for _ in range(2) for image in few], 2, device),
        len(images) / _seconds(lambda: [by_batch(there / 255) for _ in range(2)], 2, device),
    )


def _images(side: int, b: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(b, 3, 8, 8, generator=generator)
    return (torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1) * 255).byte()


def _seconds(run: Callable[[], object], rounds: int, device: torch.device) -> float:
    """The best of several rounds: what else runs on the machine only adds time."""
    best = float("inf")
    with torch.no_grad():
        run()
        for _ in range(rounds):
            start = now(device)
            run()
            best = min(best, now(device) - start)
    return best


def _torchvision(size: int, blur: float, crops: Interpolation) -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, interpolation=v2.InterpolationMode(crops), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(KERNEL, (0.1, 2.0))], p=blur),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def _kornia(size: int, blur: float, crops: Interpolation) -> torch.nn.Module:
    return K.AugmentationSequential(
        K.RandomResizedCrop((size, size), resample=crops),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((KERNEL, KERNEL), (0.1, 2.0), p=blur),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
        data_keys=["input"],
    )


if __name__ == "__main__":
    main()
