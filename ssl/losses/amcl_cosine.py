"""Agreement of two views, in which every pair has a temperature of its own."""

from .base.contrast import Contrast
from .base.pair_loss import PairLoss, Values
from .policies.pair_temperature import PairTemperature, named, omega, pair_temperature


class AMCLCosine(PairLoss):
    """Adaptive multi-head contrast without negatives, in the form for SimSiam (Wang et al. 2024).

    With s the cosine of a query and its target, τ their temperature, and Ω(τ) = d/2 · ln τ + 1/τ in d dimensions:

        loss = -s/τ + 2 beta · Ω(τ)

    as a mean over pairs of views: of two views, the paper halves -s/τ but not Ω, and sums both ways. By default beta is
    1/d. Of several heads it is the mean, where the paper has the sum.
    """

    def __init__(self, temperature: float | int | PairTemperature = 1.0, beta: float | None = None) -> None:
        super().__init__()
        self.temperature, self.beta = pair_temperature(temperature), beta

    def pair(self, contrast: Contrast) -> Values:
        step, query, similarity = contrast.step, contrast.step.q[contrast.a], contrast.similarity
        tau = self.temperature.between(query, step.k[contrast.b], step.head)
        return {
            "loss": 2 * omega(tau, query.shape[1], self.beta) - similarity / tau,
            "positive_similarity": similarity,
            **named("positive", self.temperature.spread(tau[:, None])),
        }
