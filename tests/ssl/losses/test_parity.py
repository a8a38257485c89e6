"""On one process, where lightly has a loss, ours is the same."""

from collections.abc import Callable

import pytest
import torch
from lightly import loss as lightly
from sslab.ssl.core.step import Step
from sslab.ssl.losses.barlow import BarlowTwins
from sslab.ssl.losses.cosine import Cosine
from sslab.ssl.losses.dclw import DCLW
from sslab.ssl.losses.dino import DINO
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.koleo import KoLeo
from sslab.ssl.losses.swav import SwAV
from sslab.ssl.losses.vicreg import VICReg
from sslab.ssl.losses.wmse import WMSE
from torch import Tensor
from torch.nn.functional import normalize

Both = tuple[torch.nn.Module, Callable[[Tensor, Tensor], Tensor]]
CASES: dict[str, Callable[[], Both]] = {
    "infonce": lambda: (InfoNCE(0.1), lightly.NTXentLoss(0.1)),
    "dcl": lambda: (InfoNCE(0.1, decouple=True), lightly.DCLLoss(0.1)),
    "dclw": lambda: (DCLW(0.1), lightly.DCLWLoss(0.1)),
    "barlow": lambda: (BarlowTwins(0.005), lightly.BarlowTwinsLoss(0.005)),
    "vicreg": lambda: (VICReg(), lightly.VICRegLoss()),
    "cosine": lambda: (Cosine(1.0), lambda a, b: 1 + lightly.NegativeCosineSimilarity()(a, b)),
    "koleo": lambda: (KoLeo(), lambda a, b: (lightly.KoLeoLoss()(a) + lightly.KoLeoLoss()(b)) / 2),
    "wmse": lambda: (WMSE(64), lambda a, b: lightly.WMSELoss(8, w_size=64)(torch.cat([a, b]))),
    "swav": lambda: (SwAV(), lambda a, b: lightly.SwaVLoss(0.1)([a, b], [])),
    "dino": lambda: (DINO(), lambda a, b: lightly.DINOLoss(8, 0.04, 0.04)([a.detach(), b.detach()], [a, b], epoch=0)),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_lightlys(name):
    ours, theirs = CASES[name]()
    z = torch.randn(2, 64, 8, generator=torch.Generator().manual_seed(0))
    results = []
    for loss in (lambda a, b: ours(Step.of({0: a, 1: b}, {0: a, 1: b})).total, theirs):
        x = (normalize(z, dim=-1) if name in ("swav", "dino") else z.clone()).requires_grad_()
        total = loss(x[0], x[1])
        results.append((total.detach().squeeze(), *torch.autograd.grad(total.sum(), x)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=2e-6)
