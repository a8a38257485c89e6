"""Relative differences of gradients from those of the reference code, where both have the same value.

python -m bench.departures

Two views of 256 images in float64: the second is the first plus noise of the same length, times a share of it.
"""

from collections.abc import Callable

import torch
from sslab.ssl.core.step import Step
from sslab.ssl.latent.hallucinator import Hallucinator
from sslab.ssl.latent.whiten import Whiten
from sslab.ssl.losses.base.output import Output
from sslab.ssl.losses.dclw import DCLW
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.wmse import WMSE
from torch import Tensor, nn

IMAGES, NOISE = 256, (0.1, 0.5, 2.0)
Loss = Callable[[Step], Output]


def main() -> None:
    print(f"{'':34}" + "".join(f"{'noise ' + str(noise):>12}" for noise in NOISE))
    for name, dim, ours, theirs in cases():
        found = [difference(*(gradient(loss, views(dim, noise)) for loss in (ours, theirs))) for noise in NOISE]
        print(f"{name:34}" + "".join(f"{100 * share:10.2g} %" for share in found))


def cases() -> list[tuple[str, int, Loss, Loss]]:
    """The name of a departure, the dimensions, our loss and the reference's."""
    return [
        ("dclw, weights differentiated", 32, DCLW(), DCLW(detach_weights=False)),
        ("whiten, matrix a constant", 32, after(Whiten()), after(Whiten(detach_matrix=True))),
        ("wmse, no shrinkage", 32, WMSE(), WMSE(shrinkage=1e-15)),
        ("hallucinator, keys of length 1", 32, after(hallucinator(False)), after(hallucinator(True))),
    ]


def after(part: nn.Module) -> Loss:
    return lambda step: InfoNCE(negatives=["cross"])(part(step))


def hallucinator(literal: bool) -> nn.Module:
    torch.manual_seed(0)
    return Hallucinator(32, literal=literal).double()


def views(dim: int, noise: float) -> Tensor:
    first, other = torch.randn(2, IMAGES, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.stack([first, first + noise * other])


def gradient(loss: Loss, z: Tensor) -> Tensor:
    z = z.requires_grad_()
    targets = dict(enumerate(z))
    return torch.autograd.grad(loss(Step.of(targets, targets)).total, z)[0]


def difference(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


if __name__ == "__main__":
    main()
