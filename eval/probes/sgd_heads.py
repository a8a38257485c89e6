"""Linear classifiers side by side, trained together by SGD."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, hardshrink

from ...ssl.core.draws import mix, permutation

INIT, ORDER = 0, 2  # keep these uses of a seed apart from each other and from the held-out rows
CHUNK = 8192
TRACE = 1e-30
SHARED = 100_000_000  # products per step from which it pays to share them among threads


class Recipe(NamedTuple):
    """The training of heads: SGD with momentum 0.9, a cosine to 0, no weight decay."""

    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
    epochs: int = 10
    least_steps: int = 500  # small sets take more epochs
    batch_size: int = 256
    standardise: bool = True  # the features, by the mean and deviation of train


class Heads(NamedTuple):
    """Linear classifiers side by side, on features from which a mean is taken off before they are scaled."""

    weight: Float[Tensor, "d l c"]
    bias: Float[Tensor, "l c"]
    mean: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n l c"]:
        """((x − mean) · scale) W + bias, with the standardisation moved into the smaller factor."""
        weight = (self.scale[:, None] * self.weight.flatten(1)).contiguous()  # (d, l·c)
        bias = self.bias.flatten() - self.mean @ weight
        return torch.addmm(bias, features, weight).unflatten(1, self.bias.shape)

    def scores(self, features: Float[Tensor, "n d"], which: int = 0) -> Float[Tensor, "n c"]:
        """The logits of one head."""
        head = self._replace(weight=self.weight[:, which : which + 1], bias=self.bias[which : which + 1])
        return torch.cat([head.logits(chunk.float())[:, 0] for chunk in features.split(CHUNK)])


def fit(
    features: Float[Tensor, "n d"],
    label: Int[Tensor, " n"],
    classes: int,
    seed: int,
    recipe: Recipe,
    rows: Int[Tensor, " r"] | None = None,
) -> Heads:
    """One head per learning rate, all in one matrix product; each comes out as if it were alone.

    Every head's loss is multiplied by its rate and the optimiser's own rate is 1: momentum is linear, so this is SGD.
    Features are read a batch at a time, of these rows only if there are any.
    """
    rows = torch.arange(len(label)) if rows is None else rows
    rates = torch.tensor(recipe.learning_rates)
    heads = _start(features, rows, classes, seed, recipe)
    epochs = _epochs(len(rows), recipe)
    steps = epochs * ceil(len(rows) / recipe.batch_size)
    optimizer = torch.optim.SGD([heads.weight, heads.bias], lr=1.0, momentum=0.9)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with _threads(recipe.batch_size * heads.weight.numel()):
        for batch in _batches(len(rows), epochs, seed, recipe.batch_size):
            logits = heads.logits(features[rows[batch]].float())  # (b, l, c)
            logits.register_hook(_without_traces)
            wanted = label[rows[batch], None].expand(-1, len(rates))
            losses = cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
            optimizer.zero_grad()
            (losses.mean(0) @ rates).backward()
            optimizer.step()
            cosine.step()
    return Heads(*(t.detach() for t in heads))


def _start(features: Float[Tensor, "n d"], rows: Int[Tensor, " r"], classes: int, seed: int, recipe: Recipe) -> Heads:
    """Weights from N(0, 0.01²), the same for every head; biases 0."""
    dim = features.shape[1]
    mean, scale = _standard(features, rows) if recipe.standardise else (torch.zeros(dim), torch.ones(dim))
    draw = torch.Generator().manual_seed(mix(seed, INIT))
    weight = 0.01 * torch.randn(dim, 1, classes, generator=draw)
    weight = weight.repeat(1, len(recipe.learning_rates), 1).requires_grad_()
    return Heads(weight, torch.zeros(weight.shape[1:], requires_grad=True), mean, scale)


def _standard(
    features: Float[Tensor, "n d"], rows: Int[Tensor, " r"]
) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Mean and one over the deviation; 0 for constant features, which are so left out."""
    chunks = rows.split(CHUNK)
    mean = torch.stack([features[some].double().sum(0) for some in chunks]).sum(0) / len(rows)
    squares = torch.stack([(features[some].double() - mean).square().sum(0) for some in chunks]).sum(0)
    std = (squares / len(rows)).sqrt()
    return mean.float(), torch.where(std > 1e-6 * std.max(), 1 / std, 0).float()


def _epochs(size: int, recipe: Recipe) -> int:
    return max(recipe.epochs, ceil(recipe.least_steps / ceil(size / recipe.batch_size)))


def _batches(size: int, epochs: int, seed: int, batch_size: int) -> Iterator[Int[Tensor, " b"]]:
    for epoch in range(epochs):
        yield from permutation(mix(seed, ORDER, epoch), size).split(batch_size)


def _without_traces(gradient: Tensor) -> Tensor:
    """Zero where it is next to nothing: confident heads give subnormal numbers, which are ten times slower."""
    return hardshrink(gradient, TRACE)


@contextmanager
def _threads(products: int) -> Iterator[None]:
    """One thread for small steps: several would wait for each other longer than they work, above all on a busy CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if products > SHARED else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
