from typing import Any

import pytest
import torch
from sslab.heads.branches import Branches, BranchPredictors
from sslab.heads.dense import DenseHead, Propagation
from sslab.heads.mlp import Predictor, Projector
from sslab.heads.prototypes import Prototypes
from sslab.ssl.config.make import make
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Features
from torch import Tensor, nn

MLP = {"_target_": "sslab.heads.mlp.Projector", "hidden": 4, "dim": 3}
PREDICTOR = {"_target_": "sslab.heads.mlp.Predictor", "hidden": 4}


def features() -> Features:
    dense = torch.randn(3, 6, 2, 2, generator=torch.Generator().manual_seed(0))
    return Features(dense.mean((2, 3)), dense, dense.flatten(2).mT)


def branches(**heads: Any) -> dict[str, Any]:
    return {"_target_": "sslab.heads.branches.Branches", "heads": heads}


def predictors(**nodes: Any) -> dict[str, Any]:
    return {"_target_": "sslab.heads.branches.BranchPredictors", "predictors": nodes}


def weight(part: nn.Module) -> Tensor:
    return next(part.parameters())


def test_every_head_and_predictor_sees_its_own() -> None:
    dense, instance = DenseHead(6, 8, 5), Projector(6, 8, 4)
    head = Branches({"dense": dense, "instance": instance}).eval()
    z = head(features())
    assert torch.equal(z["dense"], dense(features()))
    assert torch.equal(z["instance"], instance(features()))
    assert head.dim == {"dense": 5, "instance": 4}
    propagation, mlp = Propagation(5), Predictor(4, 8).eval()
    q = BranchPredictors({"instance": mlp, "dense": propagation})(z)
    assert torch.equal(q["dense"], propagation(z["dense"]))
    assert torch.equal(q["instance"], mlp(z["instance"]))


def test_a_head_of_scores_is_known_as_one() -> None:
    head = Branches({"p": Prototypes(6, 8, 4, 10), "z": Projector(6, 8, 4)})
    assert head.scores == {"p": True, "z": False}


def test_heads_of_one_kind_start_with_weights_of_their_own_from_one_seed() -> None:
    first, again = (make(branches(a=MLP, b=MLP), seed=1, in_dim=6) for _ in range(2))
    assert not torch.equal(weight(first.heads["a"]), weight(first.heads["b"]))
    assert all(torch.equal(weight(first.heads[name]), weight(again.heads[name])) for name in "ab")


def test_a_fact_that_heads_have_by_name_goes_to_the_part_of_that_name() -> None:
    made = make(predictors(a=PREDICTOR, b=PREDICTOR), in_dim={"a": 3, "b": 5})
    assert made({"a": torch.ones(2, 3), "b": torch.ones(2, 5)})["b"].shape == (2, 5)


def test_a_part_for_one_head_is_refused_where_there_are_several() -> None:
    with pytest.raises(UserError, match="Predictor is for one head, but there are a, b: give each its own"):
        make(PREDICTOR, in_dim={"a": 3, "b": 5})
    loss = make({"_target_": "sslab.ssl.losses.dino.DINO"}, dim={"a": 3}, scores={"a": False})
    assert len(loss.centre) == 1  # it could do without


@pytest.mark.parametrize(
    ("z", "named"),
    [(torch.ones(2, 3), "none"), ({"a": torch.ones(2, 3)}, "a"), (dict.fromkeys("abc", torch.ones(2, 3)), "a, b, c")],
)
def test_predictors_are_for_the_heads_that_there_are(z: Any, named: str) -> None:
    part = BranchPredictors({"a": Predictor(3, 4), "b": Predictor(3, 4)})
    with pytest.raises(UserError, match=f"are for heads a, b, but the named heads are {named}: choose head=branches"):
        part(z)
