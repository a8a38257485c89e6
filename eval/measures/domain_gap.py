"""The distance of the features of generated images from those of real ones."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ...ssl.core.draws import mix, permutation
from ...ssl.core.errors import UserError
from .spectrum import rankme

FOLDS = 5
ITERATIONS = 1000


class DomainGap(NamedTuple):
    """Distances between two sets of features, and how many dimensions each of them uses."""

    centroid_distance: float
    relative_distance: float
    separability: float
    real_rankme: float
    generated_rankme: float


def domain_gap(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], seed: int = 0) -> DomainGap:
    """Return the gap of equally many rows of each, at random, since RankMe and separability depend on the number."""
    count = min(len(real), len(generated))
    if count < FOLDS:
        raise UserError(f"{len(real)} real and {len(generated)} generated images: expected {FOLDS} or more of each")
    sets = (real, generated)
    a, b = (x[permutation(mix(seed, i), len(x))[:count]].double() for i, x in enumerate(sets))
    distance = centroid_distance(a, b).item()
    spread = within_spread(a, b).clamp_min(torch.finfo(torch.float64).tiny).item()
    return DomainGap(distance, distance / spread, separability(a, b, seed), rankme(a).item(), rankme(b).item())


def centroid_distance(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Return the distance between the means of features brought to unit length: from 0 to 2."""
    return (normalize(real, dim=1).mean(0) - normalize(generated, dim=1).mean(0)).norm()


def within_spread(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """The root of the mean squared distance of unit features to the centroid of their own set."""
    units = (normalize(x, dim=1) for x in (real, generated))
    return torch.cat([(z - z.mean(0)).square().sum(1) for z in units]).mean().sqrt()


def separability(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], seed: int = 0) -> float:
    """Cross-validated accuracy of a logistic regression that tells the two apart; 0.5: it cannot, 1: always.

    Features are standardised by the rows that it is fitted to, and the accuracy is the mean of those of the two sets.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and only needed here
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = torch.cat([real, generated]).double().cpu().numpy()
    label = [0] * len(real) + [1] * len(generated)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=ITERATIONS))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=mix(seed) % 2**32)
    return float(cross_val_score(classifier, features, label, cv=folds, scoring="balanced_accuracy").mean())
