import pytest
import torch
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step
from sslab.ssl.losses.cosine import Cosine
from sslab.ssl.losses.infonce import InfoNCE
from sslab.ssl.losses.sum import Sum
from torch import Tensor


def step() -> Step:
    z = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    views: dict[int, Tensor] = dict(enumerate(z.requires_grad_()))
    return Step.of(views, views)


def test_values_and_gradients_add_up():
    losses = {"first": InfoNCE(0.3), "second": Cosine(4.0)}
    both, parts = Sum(losses, {"second": 0.25}), {name: loss(step()) for name, loss in losses.items()}
    output = both(step())
    torch.testing.assert_close(output.total, parts["first"].total + 0.25 * parts["second"].total)
    assert output.terms["second"] == parts["second"].total
    assert output.terms["first/positive_similarity"] == parts["first"].terms["positive_similarity"]
    assert not any(term.requires_grad for term in output.terms.values())


@pytest.mark.parametrize(
    ("losses", "weights", "message"),
    [({"dcl": InfoNCE()}, {"dlc": 2.0}, r"names \['dlc'\]: the losses are dcl"), ({}, {}, "loss.losses is empty")],
)
def test_impossible_sums_are_refused(losses, weights, message):
    with pytest.raises(UserError, match=message):
        Sum(losses, weights)
