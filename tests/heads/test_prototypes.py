import copy

import pytest
import torch
from sslab.heads.prototypes import Prototypes
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Features
from torch import Tensor
from torch.nn.functional import cosine_similarity, gelu


def features(pooled: Tensor) -> Features:
    return Features(pooled, pooled[:, :, None, None], pooled[:, None])


def made(**options: object) -> Prototypes:
    torch.manual_seed(0)
    return Prototypes(**{"in_dim": 6, "hidden": 16, "bottleneck": 4, "prototypes": 10, "norm": "none"} | options)


def trained(head: Prototypes, updates: int, steps: int) -> list[Tensor]:
    """The prototypes after every one of `updates` updates of a run of `steps`, with momentum and decay."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=0.1, weight_decay=0.1)
    after = []
    for step in range(updates):
        optimiser.zero_grad()
        head(features(torch.randn(5, 6))).square().sum().backward()
        head.before_update(step / steps)
        optimiser.step()
        after.append(head.prototypes.detach().clone())
    return after


def test_scores_are_cosines_with_every_prototype() -> None:
    head, x = made(), torch.randn(5, 6)
    scores = head(features(x))
    assert scores.shape == (5, 10)
    assert head.dim == 10
    for i, z in enumerate(head.net(x)):
        for c, prototype in enumerate(head.prototypes):
            torch.testing.assert_close(scores[i, c], cosine_similarity(z, prototype, dim=0))


def test_prototypes_start_as_unit_vectors_and_their_length_is_immaterial() -> None:
    head, x = made(), torch.randn(5, 6)
    torch.testing.assert_close(head.prototypes.norm(dim=1), torch.ones(10))
    scores = head(features(x))
    with torch.no_grad():
        head.prototypes.mul_(torch.arange(1.0, 11.0)[:, None])
    torch.testing.assert_close(head(features(x)), scores)


def test_without_layers_the_features_are_the_bottleneck() -> None:
    head, x = made(layers=0), torch.randn(5, 6)
    torch.testing.assert_close(head(features(x)), cosine_similarity(x[:, None], head.prototypes[None], dim=2))


def test_the_bottleneck_is_made_with_the_activation_that_is_named() -> None:
    head, x = made(layers=3, activation="gelu"), torch.randn(5, 6)
    first, _, second, _, last = head.net
    z = last(gelu(second(gelu(first(x)))))
    torch.testing.assert_close(head(features(x)), cosine_similarity(z[:, None], head.prototypes[None], dim=2))


def test_gradients_are_those_of_the_scores() -> None:
    head = made(norm="layer").double()

    def scores(x: Tensor, prototypes: Tensor) -> Tensor:
        return torch.func.functional_call(head, {"prototypes": prototypes}, (features(x),))

    inputs = torch.randn(3, 6, dtype=torch.float64, requires_grad=True), head.prototypes
    assert torch.autograd.gradcheck(scores, inputs)


def test_cosines_keep_full_precision_inside_autocast() -> None:
    head, x = made(layers=0, in_dim=64), torch.randn(5, 64)
    exact = head(features(x))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(head(features(x)), exact, rtol=0, atol=0)
        assert made()(features(torch.randn(5, 6))).dtype == torch.float32


def test_prototypes_stand_still_in_the_frozen_epochs_and_move_after_them() -> None:
    head = made(frozen_epochs=2.0, epochs=5.0)
    start, net = head.prototypes.detach().clone(), copy.deepcopy(head.net.state_dict())
    after = trained(head, updates=10, steps=15)  # 3 steps an epoch
    assert all(torch.equal(prototypes, start) for prototypes in after[:6])
    assert not torch.equal(after[6], start)
    assert not any(torch.equal(v, net[k]) for k, v in head.net.state_dict().items())


@pytest.mark.parametrize("options", [{"frozen_epochs": 0.0, "epochs": 5.0}, {}])
def test_they_are_never_frozen_without_epochs_to_freeze_them_for(options: dict[str, float]) -> None:
    head = made(**options)
    start = head.prototypes.detach().clone()
    assert not torch.equal(trained(head, updates=1, steps=15)[0], start)


def test_a_single_prototype_is_refused() -> None:
    with pytest.raises(UserError, match="head.prototypes=1: expected 2 or more"):
        made(prototypes=1)
