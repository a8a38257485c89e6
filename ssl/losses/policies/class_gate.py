"""Gates on the dimensions of embeddings: which of them an image of one class and one of another are compared in."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class ClassGate(nn.Module):
    """gate(y, y') = sigmoid(MLP((e_y + e_y') / 2)) in (0, 1)^dim, learned (SimLAP: Wu et al. 2024).

    e is an embedding of the class; the MLP is ReLU - BN - Linear - ReLU - BN - Linear. The gate is that of an unordered
    pair. The statistics of BN are those of the pairs of one call, so all ranks must pass the pairs of all ranks; a
    single pair has none, and is seen as in evaluation.
    """

    def __init__(self, classes: int, dim: int, embedding: int = 512, hidden: int = 1024) -> None:
        super().__init__()
        self.classes = classes
        self.embedding = nn.Embedding(classes, embedding)
        self.net = nn.Sequential(
            nn.ReLU(),
            nn.BatchNorm1d(embedding),
            nn.Linear(embedding, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, dim),
            nn.Sigmoid(),
        )

    def forward(self, first: Int[Tensor, " n"], second: Int[Tensor, " n"]) -> Float[Tensor, "n dim"]:
        self.net.train(self.training and len(first) > 1)
        return self.net((self.embedding(first) + self.embedding(second)) / 2)

    @torch.no_grad()
    def class_relations(self) -> Float[Tensor, "classes classes"]:
        """The mean over dimensions of the gate of any two classes, as in evaluation."""
        gates, number = copy.deepcopy(self).eval(), torch.arange(self.classes, device=self.embedding.weight.device)
        return torch.stack([gates(one.expand_as(number), number).mean(dim=1) for one in number])


class OpenGate(nn.Module):
    """The control: every pair of classes is compared in all dimensions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, first: Int[Tensor, " n"], second: Int[Tensor, " n"]) -> Float[Tensor, "n dim"]:
        return torch.ones(len(first), self.dim, device=first.device)
