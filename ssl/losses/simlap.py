"""SimLAP: images of any two classes are positives of each other, in the dimensions that a gate opens to the two."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..core.distributed import gather, rank
from ..core.draws import keys, mix, permutation, uniforms
from ..core.errors import UserError
from ..core.points import Points
from ..core.step import Step
from .base.contrast import Contrast, contrasts
from .base.heads import over_heads
from .base.output import Output
from .base.pair_loss import Values, mean
from .base.precision import embeddings, full_precision
from .ops.blocks import in_blocks
from .ops.logsumexp import CHUNK, EMPTY
from .policies.class_gate import ClassGate, OpenGate
from .policies.temperature import Temperature, temperature_policy

PARTNER = 1  # keeps the draw of partners apart from others of the same step
SMALLEST = 1e-24  # of a squared norm
Pairs = Literal["identical", "distinct", "arbitrary"]
Similarity = Literal["v1", "v2"]
Average = Literal["pairs", "anchors"]


class Paired(NamedTuple):
    """The class of each anchor of this rank, the class that it is paired with, and the gate of the two."""

    label: Int[Tensor, " n"]  # -1: unknown, so not an anchor
    partner: Int[Tensor, " n"]
    group: Int[Tensor, " n"]
    gate: Float[Tensor, "n d"]

    def masks(self, part: slice, key: Points) -> tuple[Bool[Tensor, "rows m"], Bool[Tensor, "rows m"]]:
        """Return which keys are positives, and which negatives, of some anchors."""
        label, partner, group = (x[part, None] for x in (self.label, self.partner, self.group))
        comparable = (group == key.group) & (label >= 0) & (key.label >= 0)
        of_partner = key.label == partner
        return comparable & of_partner, comparable & ~of_partner & (key.label != label)


class SimLAP(nn.Module):
    """Contrasts pairs of classes rather than of images (Hydra, then SimLAP: Wu et al. 2024). It uses labels.

    With z the query of an image of class y, y' the class that it is paired with, g the `gate` of the two, k the targets
    of another view, P those of class y', U those of neither class and t the temperature:

        loss = mean over z and p in P of  -s(z, p)/t + log(exp(s(z, p)/t) + Σ_{u in U} exp(s(z, u)/t))
        s(z, k) = cos(g z, g k)                  `similarity="v1"`
        s(z, k) = Σ_d g_d² z_d k_d               `similarity="v2"`, of unit vectors z and k

    Targets of the image's own class are neither positives nor negatives, unless y' = y. The class y' is that of another
    image of the global batch, by a permutation of them all (`pairs="arbitrary"`), y itself (`"identical"`) or any
    other class (`"distinct"`; an image that finds no target of it is left out). The mean is over all pairs of z and p,
    as in the official code, or with `average="anchors"` first over P. A weight is that of z. Images without a label are
    left out on both sides. A memory offers further targets, and a group bounds what is compared.

    `entropy` is the weight of the gates' mean entropy, which makes them decide. In the first `gate_epochs` of a run of
    `epochs` the loss trains its gates and its temperature alone: embeddings get a gradient of 0. With gate=open and
    identical pairs this is SupCon across views with each positive alone in its denominator.
    """

    def __init__(
        self,
        gate: ClassGate | OpenGate,
        pairs: Pairs = "arbitrary",
        similarity: Similarity = "v1",
        temperature: float | int | Temperature = 0.1,
        average: Average = "pairs",
        entropy: float | int = 0.0,
        gate_epochs: float = 0.0,
        epochs: float | None = None,
        classes: int | None = None,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        if classes == 0:
            raise UserError("SimLAP needs labels, but this data set has none: choose another loss")
        if pairs == "distinct" and (classes is None or classes < 2):
            raise UserError(f"loss.pairs=distinct needs two classes, but there are {classes}: choose pairs=identical")
        if gate_epochs > 0 and not any(True for _ in gate.parameters()):
            raise UserError(f"gate_epochs={gate_epochs} trains gates alone, but an open gate does not learn: set 0")
        self.gate, self.pairs, self.average = gate, pairs, average
        self.similarity: Similarity = similarity
        self.temperature = temperature_policy(temperature)
        self.entropy, self.classes, self.chunk = entropy, classes, chunk
        self.gate_epochs, self.epochs = gate_epochs, epochs

    @full_precision
    @over_heads
    def forward(self, step: Step) -> Output:
        if self.epochs is not None and step.progress * self.epochs < self.gate_epochs - 1e-6:  # 1 may come out as 0.9…
            step = embeddings(step, without_gradient)
        paired = self.paired(step)
        values = mean([self.pair(contrast, paired) for contrast in contrasts(step)])
        number = values.pop("number")
        values |= self.diagnosis(step, paired.gate)
        values["loss"] = values["loss"] + self.entropy * values["gate_entropy"]
        output = Output.mean(step.weight * (number if self.average == "pairs" else number > 0), **values)
        return Output(output.total, output.terms | {"positives": Output.mean(step.weight, number).total})

    def paired(self, step: Step) -> Paired:
        """The gates are made for the anchors of all ranks: BN is to see all of them."""
        z, label = next(iter(step.q.values())), gather(step.batch.label)
        partner, known = self.partners(label, step.key), label >= 0
        gate = z.new_ones(len(label), z.shape[1])
        gate[known] = self.gate(label[known], partner[known]).to(z)
        share = slice(rank() * len(z), (rank() + 1) * len(z))
        return Paired(label[share], partner[share], step.group, gate[share])

    def partners(self, label: Int[Tensor, " n"], key: int) -> Int[Tensor, " n"]:
        """The class that each image of the global batch is paired with."""
        key = mix(key, PARTNER)
        if self.pairs == "arbitrary":
            known = (label >= 0).nonzero()[:, 0]
            return label.index_copy(0, known, label[known[permutation(key, len(known)).to(known.device)]])
        if self.pairs == "distinct" and self.classes:
            draw = uniforms(keys(key, torch.arange(len(label), device=label.device)), 0, 1)[:, 0]
            return (label + 1 + (draw * (self.classes - 1)).long()) % self.classes
        return label

    def pair(self, contrast: Contrast, paired: Paired) -> Values:
        """Per anchor the means over its positives, and how many these are."""
        key = contrast.candidates(["cross"])

        def sums(part: slice, z: Tensor, gate: Tensor, scale: Tensor, k: Tensor) -> Float[Tensor, "rows 3"]:
            positive, negative = paired.masks(part, key)
            similarity = gated_similarity(z, k, gate, self.similarity)
            logits = similarity * scale[:, None]
            others = logits.masked_fill(~negative, EMPTY).logsumexp(dim=1, keepdim=True)
            term = torch.logaddexp(logits, others) - logits
            return torch.stack([(x * positive).sum(dim=1) for x in (term, similarity, torch.ones_like(term))], dim=1)

        split = contrast.step.q[contrast.a], paired.gate, 1 / self.temperature(contrast.step)
        loss, similarity, number = in_blocks(sums, split, [key.z], self.chunk // len(key.z)).unbind(dim=1)
        number = number.detach()
        some = number.clamp_min(1)
        return {"loss": loss / some, "positive_similarity": similarity / some, "number": number}

    def diagnosis(self, step: Step, gate: Float[Tensor, "n d"]) -> Values:
        """Return how far the gates are open and how undecided they are, and a temperature that varies."""
        inside = gate.clamp(1e-6, 1 - 1e-6)
        entropy = torch.special.entr(inside) + torch.special.entr(1 - inside)
        shown = {"temperature": self.temperature(step)} if self.temperature.varies else {}
        return {"gate": gate.mean(dim=1), "gate_entropy": entropy.mean(dim=1), **shown}


def without_gradient(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same values with a gradient of 0; with none at all DDP would wait for that of the encoder."""
    return z.detach() + 0 * z


def gated_similarity(
    z: Float[Tensor, "n d"], k: Float[Tensor, "m d"], gate: Float[Tensor, "n d"], kind: Similarity
) -> Float[Tensor, "n m"]:
    """The gate of z on both sides, in products of matrices: no gated k of n·m·d numbers is formed."""
    squared = gate.square()
    product = (z * squared) @ k.T
    if kind == "v2":
        return product
    norm_z = (z * gate).square().sum(dim=1, keepdim=True).clamp_min(SMALLEST).sqrt()
    norm_k = (squared @ k.square().T).clamp_min(SMALLEST).sqrt()
    return product / (norm_z * norm_k)
