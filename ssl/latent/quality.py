"""The weight of each pair of views, by its quality."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from ..core.distributed import gather, rank
from ..core.errors import UserError
from ..core.step import Step, View
from ..pretrained.foreground import Foreground, scores
from ..pretrained.frozen_encoder import Number
from .base import Part

EPSILON = 1e-7


class Similarity(NamedTuple):
    """Similarities of two views of each image, by the features of a frozen encoder."""

    foreground: Float[Tensor, " b"]
    background: Float[Tensor, " b"]


class Quality(Part):
    """Weighs images by whether their views agree in the foreground and differ behind it (GenView; Li et al. 2024).

    A frozen encoder sees patches F_p of a view, whose scores a_p = F_p·v, brought to [0, 1] in each image, are a map of
    the foreground and their complements one of the background. With z_f and z_b the means of patches by these maps:

        q = cos(z_f, z_f') - cos(z_b, z_b'),    w_i = exp(γ q_i) / mean_j exp(γ q_j)

    and w, a constant of mean 1, multiplies the step's weights. The mean is over the batch of all ranks, so that their
    number changes nothing; the authors' is over that of one GPU. Where a score is the same all over a view nothing is
    foreground, so that the first cosine is 0. The two views are the first two targets, or of a single target it and a
    query.

    Args:
        foreground: what `python -m sslab.datamodules.generate foreground=pca` has written; it names the encoder.
        gamma: 0: all weights are 1.
        weights: where the encoder's weights are, if no longer where they were.
        view_mean: of the views' channels, if not what the encoder has seen.
        view_std: likewise.
        precision: of the encoder, as Lightning names it; in an experiment, bf16 where the hardware computes in it.
    """

    any_shape = True

    def __init__(
        self,
        foreground: str,
        gamma: float | int = 1.0,
        weights: str | None = None,
        view_mean: Sequence[Number] | None = None,
        view_std: Sequence[Number] | None = None,
        precision: str | None = None,
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise UserError(f"gamma={gamma} would favour views that differ in the foreground: give 0 or more")
        direction, _, self.encoder = Foreground.load(foreground, weights, precision)
        self.direction = nn.Buffer(direction)
        self.gamma = gamma
        self.mean, self.std = view_mean or self.encoder.mean, view_std or self.encoder.std

    def check(self, step: Step) -> None:
        super().check(step)
        if len(_compared(step)) < 2:
            raise UserError(f"Quality compares two views, but all is of view {_compared(step)}: set views.count=2")

    def change(self, step: Step) -> Step:
        similarity = self.similarity(*(step.views[view] for view in _compared(step)))
        everyone = Similarity(*gather(torch.stack(similarity, dim=1)).unbind(1))
        weight = weigh(everyone, self.gamma)
        terms = {
            "weight_std": weight.std(correction=0),
            "weight_min": weight.min(),
            "weight_max": weight.max(),
            "foreground_similarity": everyone.foreground.mean(),
            "background_similarity": everyone.background.mean(),
        }
        own = weight[rank() * len(step.row) :][: len(step.row)]
        return step._replace(weight=step.weight * own, terms=step.terms | terms)

    def rehearse(self, step: Step) -> Step:
        """One image tells whether all fits; the weights are made up, so that a loss without weights refuses them."""
        self.check(step)
        for view in _compared(step):
            self.look(step.views[view]._replace(image=step.views[view].image[:1]))
        return step._replace(weight=torch.linspace(0.5, 1.5, len(step.weight)))

    def weights_of(self, views: Sequence[View], compared: Sequence[int], rows: int) -> Float[Tensor, " r"]:
        """Return the weights of the first rows alone, whose views are compared in this order: for a look at them."""
        pair = [views[view] for view in list(dict.fromkeys(compared))[:2]]
        return weigh(self.similarity(*(view._replace(image=view.image[:rows]) for view in pair)), self.gamma)

    def similarity(self, a: View, b: View) -> Similarity:
        return compare(self.look(a), self.look(b), self.direction)

    def look(self, view: View) -> Float[Tensor, "b d h w"]:
        return self.encoder.look(view.image, self.mean, self.std)


def compare(a: Float[Tensor, "b d h w"], b: Float[Tensor, "b d h2 w2"], direction: Float[Tensor, " d"]) -> Similarity:
    """The cosines of the foregrounds and of the backgrounds of two views' patches."""
    pairs = zip(parts(a, direction), parts(b, direction), strict=True)
    return Similarity(*(cosine_similarity(x, y) for x, y in pairs))


def parts(
    patches: Float[Tensor, "b d h w"], direction: Float[Tensor, " d"]
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
    """The means of each image's patches over its foreground and its background."""
    foreground, background = maps(scores(patches, direction))
    return torch.einsum("bhw,bdhw->bd", foreground, patches), torch.einsum("bhw,bdhw->bd", background, patches)


def maps(score: Float[Tensor, "b h w"]) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """Return maps of foreground and background, of sum 1; the foreground of a constant score is 0."""
    low, high = (extreme(score, dim=(1, 2), keepdim=True) for extreme in (torch.amin, torch.amax))
    foreground = (score - low) / (high - low + EPSILON)
    return _shares(foreground), _shares(1 - foreground)


def weigh(similarity: Similarity, gamma: float | int) -> Float[Tensor, " b"]:
    """exp(γ q) / mean exp(γ q), with the largest q taken off first: of mean 1, and all exactly 1 where q is one."""
    q = gamma * (similarity.foreground - similarity.background)
    exponential = (q - q.max()).exp()
    return exponential / exponential.mean()


def _shares(x: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    return x / (x.sum(dim=(1, 2), keepdim=True) + EPSILON)


def _compared(step: Step) -> list[int]:
    """The two views of which embeddings are compared, targets first."""
    views = dict.fromkeys([*step.k, *step.q])
    return [view for view in views if view not in step.derived][:2]
