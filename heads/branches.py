"""Several heads on one backbone, known by their names, each with a predictor of its own."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ..ssl.core.contracts import Head, fulfil
from ..ssl.core.errors import UserError
from ..ssl.core.step import Features

Named = dict[str, Float[Tensor, "b ..."]]


class Branches(nn.Module):
    """Head that gives the embeddings of several heads, by name; `loss=sum` gives each its loss."""

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(heads)
        made: dict[str, Any] = {name: fulfil(head, Head, f"head.heads.{name}") for name, head in heads.items()}
        self.dim = {name: head.dim for name, head in made.items()}
        self.map_only = all(head.map_only for head in made.values())
        self.scores = {name: head.scores for name, head in made.items()}

    def forward(self, features: Features) -> Named:
        return {name: head(features) for name, head in self.heads.items()}


class BranchPredictors(nn.Module):
    """A predictor for each of several heads, by their names."""

    def __init__(self, predictors: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.predictors = nn.ModuleDict(predictors)

    def forward(self, z: Named | Float[Tensor, "b ..."]) -> Named:
        named = z if isinstance(z, dict) else {}
        if named.keys() != self.predictors.keys():
            raise UserError(
                f"predictor.predictors are for heads {', '.join(self.predictors)}, but the named heads are "
                f"{', '.join(named) or 'none'}: choose head=branches, and give each head its predictor"
            )
        return {name: self.predictors[name](embedding) for name, embedding in named.items()}
