"""Swapped prediction of balanced cluster assignments."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.distributed import gather, rank
from ..core.errors import UserError
from ..core.step import Step
from .base.prototype_loss import PrototypeLoss
from .ops.sinkhorn import sinkhorn


class SwAV(PrototypeLoss):
    """Predicts from one view the code of another (Caron et al. 2020, Eq. 1 to 5).

    The codes are rows of Q, which is near to softmax(k / epsilon) but uses all prototypes equally over the global
    batch (`sinkhorn`). A memory, where a latent part provides one, is balanced together with the batch, and its
    codes are dropped: it lets a batch be smaller than the number of prototypes.

    Deviation from the paper: this memory is a queue of scores, from the prototypes as they were when they were
    stored, while SwAV's is one of embeddings, scored anew at every step; and it is one for all views. Groups are
    immaterial: no sample is another's negative, and all of them share the prototypes. Weights weigh the mean, not
    the balance. The Sinkhorn centring of DINOv2 is this loss with teacher=ema.
    """

    def __init__(
        self, temperature: float = 0.1, epsilon: float = 0.05, iterations: int = 3, scores: bool = True
    ) -> None:
        super().__init__(temperature, scores)
        if epsilon <= 0 or iterations < 1:
            raise UserError(f"epsilon={epsilon} and iterations={iterations}: expected above 0, and 1 or more")
        self.epsilon, self.iterations = epsilon, iterations

    def assign(self, target: dict[int, Float[Tensor, "n c"]], step: Step) -> dict[int, Float[Tensor, "n c"]]:
        memory = step.memory.detach().masked_fill((step.memory_group == -1)[:, None], -torch.inf)
        n = len(step.row)
        mine = slice(rank() * n, (rank() + 1) * n)
        together = {view: torch.cat([gather(k), memory]) if len(memory) else gather(k) for view, k in target.items()}
        return {view: sinkhorn(k, self.epsilon, self.iterations)[mine] for view, k in together.items()}
