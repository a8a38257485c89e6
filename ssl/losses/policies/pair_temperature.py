"""Temperatures of pairs: what makes them, what keeps them in bounds, and what to log of them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from ...core.errors import UserError


class PairTemperature(nn.Module):
    """τ = low + (high - low) · sigmoid(score) with the score 0 for all pairs, and the contract of others.

    The score of two embeddings is the product of what `of_query` and `of_target` make of them, that of two dimensions
    what `of_correlation` makes of their correlation.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        if not 0 < low <= high:
            raise UserError(f"temperatures divide cosines: expected 0 < low <= high, but they are {low} and {high}")
        self.low, self.high = low, high

    def forward(self, score: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.low + (self.high - self.low) * score.sigmoid()

    def of_query(self, z: Float[Tensor, "*n d"], head: int) -> Float[Tensor, "*n m"]:
        return z[..., :0]

    def of_target(self, z: Float[Tensor, "*n d"]) -> Float[Tensor, "*n m"]:
        return z[..., :0]

    def of_correlation(self, correlation: Float[Tensor, "d d"], head: int) -> Float[Tensor, "d d"]:
        return torch.zeros_like(correlation)

    def between(self, query: Float[Tensor, "*#n d"], target: Float[Tensor, "*#n d"], head: int) -> Float[Tensor, "*n"]:
        """The temperature of every query and its target."""
        return self((self.of_query(query, head) * self.of_target(target)).sum(dim=-1))

    def spread(self, tau: Float[Tensor, "*n k"], missing: Bool[Tensor, "*n k"] | None = None) -> Float[Tensor, "*n 4"]:
        """Return mean, least and largest of k temperatures each, and the share within 1 % of the range of a bound."""
        tau = tau.detach()
        missing = torch.zeros_like(tau, dtype=torch.bool) if missing is None else missing
        share = (~missing).to(tau) / (~missing).sum(dim=-1, keepdim=True).clamp_min(1)
        at_bound = torch.minimum(tau - self.low, self.high - tau) < 0.01 * (self.high - self.low)
        mean, near = (share * tau).sum(dim=-1), (share * at_bound).sum(dim=-1)
        low, high = (tau.masked_fill(missing, end) for end in (torch.inf, -torch.inf))
        return torch.stack([mean, low.amin(dim=-1), high.amax(dim=-1), near], dim=-1)


class AdaptiveTemperature(PairTemperature):
    """score = φ(z_i)·φ(z_j) / √width + b_c, with one MLP φ for all heads, and a b_c for each (AMCL; Wang et al. 2024).

    φ sees z as a constant: else embeddings learn to raise the temperatures of their hard negatives instead of
    parting from them. `paper_literal` lets the gradient through. b_c is ours: without it identical vectors, whose
    score would not be negative, could not have a temperature below the middle.
    """

    def __init__(
        self,
        dim: int,
        query_heads: int = 1,
        low: float = 0.1,
        high: float = 0.5,
        hidden: int = 128,
        width: int = 64,
        paper_literal: bool = False,
    ) -> None:
        super().__init__(low, high)
        self.phi = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.bias = nn.Parameter(torch.zeros(query_heads))
        self.width, self.paper_literal = width, paper_literal

    def of_query(self, z: Float[Tensor, "*n d"], head: int) -> Float[Tensor, "*n m"]:
        bias = self.bias[head].to(z.dtype).expand(*z.shape[:-1], 1)
        return torch.cat([self._features(z) / self.width**0.5, bias], dim=-1)

    def of_target(self, z: Float[Tensor, "*n d"]) -> Float[Tensor, "*n m"]:
        return pad(self._features(z), (0, 1), value=1.0)  # which takes the bias into the product

    def _features(self, z: Float[Tensor, "*n d"]) -> Float[Tensor, "*n {self.width}"]:
        weights = {name: weight.to(z.dtype) for name, weight in self.phi.named_parameters()}
        return torch.func.functional_call(self.phi, weights, z if self.paper_literal else z.detach())


class CorrelationTemperature(PairTemperature):
    """score = a_c C + b_c for the correlation C of two dimensions, with an a_c and a b_c for each head.

    Both start at 0. C is a constant to it, but for `paper_literal`.
    """

    def __init__(self, query_heads: int = 1, low: float = 1.0, high: float = 2.0, paper_literal: bool = False) -> None:
        super().__init__(low, high)
        self.slope, self.bias = (nn.Parameter(torch.zeros(query_heads)) for _ in range(2))
        self.paper_literal = paper_literal

    def of_correlation(self, correlation: Float[Tensor, "d d"], head: int) -> Float[Tensor, "d d"]:
        seen = correlation if self.paper_literal else correlation.detach()
        return self.slope[head] * seen + self.bias[head]


def omega(tau: Float[Tensor, "*shape"], dim: int, beta: float | None = None) -> Float[Tensor, "*shape"]:
    """The regulariser beta · Ω(τ), Ω(τ) = dim/2 · ln τ + 1/τ, by default with beta = 1/dim.

    1/τ - s/τ + dim/2 · ln τ is the negative log-density of a Gaussian with variance τ about a unit vector, at another
    one with cosine s, less a constant.
    """
    return (1 / dim if beta is None else beta) * (dim / 2 * tau.log() + 1 / tau)


def named(side: str, spread: Float[Tensor, "*n 4"]) -> dict[str, Float[Tensor, "*n"]]:
    """Return the statistics of `PairTemperature.spread` by the names that they are logged under."""
    names = ("temperature", "temperature_min", "temperature_max", "temperature_at_bound")
    return {f"{side}_{name}": value for name, value in zip(names, spread.unbind(-1), strict=True)}


def pair_temperature(value: float | int | PairTemperature) -> PairTemperature:
    """A number as the temperature of all pairs."""
    return value if isinstance(value, PairTemperature) else PairTemperature(value, value)
