"""Speed of two SimCLR views on one core, beside torchvision (image by image) and kornia (by batch).

python -m bench.views
"""

import time
from collections.abc import Callable

import kornia.augmentation as K
import torch
from sslab.datamodules.views.augment import Augment
from sslab.datamodules.views.resample import Interpolation
from sslab.ssl.step import Batch
from torch import Tensor
from torchvision.transforms import v2

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
ROUNDS = 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    torch.set_num_threads(1)
    print("two-view samples per second on one core\n")
    print(f"{'view':>6}{'image':>7}{'blur':>6}{'crops':>10}{'sslab':>9}{'torchvision':>13}{'kornia':>9}")
    for size, side, b, blur, crops in CASES:
        ours, theirs, kornia = (b / seconds for seconds in _compare(size, _images(side, b), blur, crops))
        print(f"{size:>6}{side:>7}{blur:>6}{crops:>10}{ours:>9,.0f}{theirs:>13,.0f}{kornia:>9,.0f}", flush=True)


def _compare(size: int, images: Tensor, blur: float, crops: Interpolation) -> list[float]:
    ours = Augment(size=size, mean=MEAN, std=STD, blur=blur, blur_kernel=KERNEL, interpolation=crops)
    one_by_one, by_batch = _torchvision(size, blur, crops), _kornia(size, blur, crops)
    batch = Batch.of(images)
    return [
        _seconds(lambda: ours(batch), ROUNDS),
        _seconds(lambda: [one_by_one(image) for _ in range(2) for image in images], 2),
        _seconds(lambda: [by_batch(images / 255) for _ in range(2)], 2),
    ]


def _images(side: int, b: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(b, 3, 8, 8, generator=generator)
    return (torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1) * 255).byte()


def _seconds(run: Callable[[], object], rounds: int) -> float:
    """The best of several rounds: what else runs on the machine only adds time."""
    best = float("inf")
    with torch.no_grad():
        run()
        for _ in range(rounds):
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
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
