"""A large batch in chunks: the exact gradient of a loss of the whole batch, with the activations of one chunk."""

import logging
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..core.errors import UserError
from ..core.step import Features

log = logging.getLogger(__name__)


def in_chunks(network: nn.Module, image: Float[Tensor, "b 3 h w"], size: int) -> Features:
    """Features of all images, of which at most `size` go through the network at a time.

    The features alone are kept. The backward pass computes every chunk once more, with the same random numbers, takes
    its gradient and forgets it before the next one (gradient caching: Gao et al. 2021). Batch norms normalise a chunk
    by its own statistics (ghost batch norm: Hoffer et al. 2017) and count it once in their running statistics.
    """
    chunks = image.tensor_split(math.ceil(len(image) / size))
    parts = [checkpoint(_Pass(network), chunk, use_reentrant=False) for chunk in chunks]
    return Features(*(torch.cat(shape) for shape in zip(*parts, strict=True)))


class _Pass:
    """One chunk's pass through a network; when it is repeated, the network's buffers stay as they are."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.repeated = network, False

    def __call__(self, image: Tensor) -> Features:
        torch.clear_autocast_cache()  # chunks with one cast of a weight would sum their gradients in its precision
        if not self.repeated:
            self.repeated = True
            return self.network(image)
        copies = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        return functional_call(self.network, copies, (image,))


def check_chunks(size: int, batch: int, network: nn.Module) -> None:
    """Refuse chunks that do not fit a process's batch; log what the others mean for batch norms."""
    if size > batch:
        raise UserError(
            f"trainer.cached_batch={size} is more than the {batch} images that a process has of a batch: lower it, "
            "or set it to null"
        )
    statistics = any(isinstance(module, _BatchNorm) for module in network.modules())
    if statistics and batch // math.ceil(batch / size) < 2:
        raise UserError(
            f"trainer.cached_batch={size} leaves a batch norm of the backbone one image to take statistics of: "
            "raise it, or choose a backbone without batch norm"
        )
    means = "whose batch norms use the statistics of these" if statistics else "with the gradient of the whole batch"
    log.info("chunks of at most %d of %d images go through the backbone, %s", size, batch, means)
