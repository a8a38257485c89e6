"""Writes docs/losses.md from conf/loss, the docstrings of the losses and the facts below.

python docs/losses.py
"""

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.utils import get_class

ROOT = Path(__file__).parents[1]


class Reduction(NamedTuple):
    """With `when`, a loss is `factor` times the loss `to` with `options`; tests hold it to that.

    Of `views` random views of unlabelled images, each row seen for the first time.
    """

    to: str
    when: dict[str, Any] = {}
    options: dict[str, Any] = {}
    factor: float = 1.0
    views: int = 2
    one_way: bool = False  # queries of the first view, targets of the second
    gradient_only: bool = False


PAIRS, ONE_VIEW, PROTOTYPES, DIMENSIONS = "V(V-1) · 2N²D", "V · 2N²D", "V · NC", "V(V-1)/2 · ND²"
PIXELS = "V(V-1) · NP²D"
COST: dict[str, str] = {  # multiply-adds of a step: V views of N images in D dimensions, C prototypes, P pixels
    "amcl": "2 · " + PAIRS + " with repulsion=lse, else " + PAIRS + " + selection of k",
    "amcl_barlow": DIMENSIONS,
    "amcl_cosine": "V(V-1) · ND",
    "barlow": DIMENSIONS,
    "cacr": "V(V-1)/2 · N²D, or V · N²D with negatives of the query's view",
    "cosine": "V(V-1) · ND",
    "dcl": PAIRS,
    "dclw": PAIRS,
    "dino": PROTOTYPES,
    "groco": "V · N²D + VN·k²",
    "hard_infonce": PAIRS + " + selection of k",
    "hydra_pairs": PAIRS,
    "infonce": PAIRS,
    "isogclr": PAIRS,
    "koleo": "V · N²D",
    "mv_dhel": "V · N²D",
    "mv_infonce": "V² · N²D",
    "pixcontrast": PIXELS,
    "pixpro": PIXELS,
    "pvc": "V²(V-1) · N²D",
    "simlap": PAIRS,
    "simlap_moco": "of its terms",
    "sogclr": PAIRS,
    "sum": "of its terms",
    "supcon": "2 · V² · N²D",
    "swav": PROTOTYPES + " · iterations",
    "vicreg": "V(V-1) · ND²",
    "wmse": "V(V-1) · ND²",
}
REDUCTIONS: dict[str, list[Reduction]] = {
    "amcl": [
        Reduction("dcl", {"temperature": 0.1}),
        Reduction("amcl", {"repulsion": "topk", "k": 1}, {"repulsion": "max"}),
    ],
    "amcl_barlow": [
        Reduction("barlow", {"temperature": 1.0, "beta": 0.0}, {"scale": 1.0, "off_diagonal": 0.005}),
    ],
    "amcl_cosine": [
        Reduction("cosine", {"temperature": 1.0, "beta": 0.0}, {"scale": 1.0}, gradient_only=True),
    ],
    "infonce": [Reduction("dcl", {"decouple": True}, {"temperature": 0.2})],
    "dclw": [Reduction("dcl", {"sigma": 1e9})],
    "hard_infonce": [Reduction("infonce", {"keep.k": 1000}, {"temperature": 0.3})],
    "supcon": [Reduction("infonce", {}, {"temperature": 0.1})],
    "pvc": [Reduction("infonce", {}, {"temperature": 0.5})],
    "cacr": [
        Reduction(
            "dcl",
            {"detach_weights": True, "negative_scale": 2.0},
            {"temperature": 0.25, "negatives": ["cross"]},
            factor=0.5,
            one_way=True,
            gradient_only=True,
        )
    ],
    "sogclr": [Reduction("dcl", {"gamma": 1.0}, factor=0.2, gradient_only=True)],
    "isogclr": [Reduction("sogclr", {"temperature.eta": 0.0})],
    "sum": [Reduction("infonce", {"weights": {"infonce": 1.0, "koleo": 0.0}})],
}
SIMLAP = "for identical pairs and an open gate, and as many classes as images, `infonce` (negatives=['cross'])"
REMARKS: dict[str, str] = {
    "hydra_pairs": f"uses labels; `simlap`; {SIMLAP}",
    "simlap": f"uses labels; {SIMLAP}",
    "simlap_moco": "uses labels; `infonce` (negatives=['cross']), with weights.classes=0.0",
    "supcon": "uses labels; for images without labels, or of as many classes",
    "pvc": "for two views",
    "mv_infonce": "log-mean of InfoNCE's two denominators for two views, where InfoNCE has the mean-log",
    "mv_dhel": "DHEL for two views",
    "groco": "0 for a steep sort of what is in order",
    "cosine": "BYOL with scale 4, SimSiam + 1 with scale 1",
}
PARITY = [  # loss, lightly 1.6 on one process, on two, solo-learn's formula
    ("infonce", "equal", "equal", "equal"),
    ("dcl", "equal", "equal", "none"),
    ("dclw", "equal", "weights from each rank's own images: value 5e-5, gradient 3e-2 off", "none"),
    (
        "barlow",
        "equal",
        "dimensions standardised on each rank by itself: value 1e-2, gradient 5e-1 off",
        "the same, times `scale`",
    ),
    ("vicreg", "equal", "equal", "variance term twice as large: `var_reduction=sum`"),
    ("koleo", "equal", "neighbours on each rank alone: value 2e-1, gradient 6e-1 off", "none"),
    ("wmse", "equal to 1e-6", "not measured", "not compared"),
    ("swav", "equal to 1e-6", "not measured", "not compared"),
    ("dino", "equal", "not measured", "not compared"),
    ("cosine", "equal, less the constant 1", "not measured: no sample meets another", "equal, less the constant"),
    ("supcon", "none", "none", "-log of the positives' share (L_in without its mean); ours is the paper's L_out"),
]
MULTIPLES = [  # loss, setting, what the official value is beside ours
    (
        "infonce",
        "MoCo v3 (`negatives=[cross]`)",
        "4 · temperature times ours: a sum over both directions, times 2 · temperature",
    ),
    ("cosine", "SimSiam (`scale=1`)", "ours less 1"),
    ("amcl", "several heads", "ours times the number of heads: a sum over heads"),
    ("amcl_barlow", "several heads", "ours times the number of heads"),
    ("barlow", "ImageNet", "ours with `scale=1`; solo-learn multiplies by 0.1, the default"),
    ("vicreg", "the paper", "ours with `inv_reduction=sum var_reduction=sum`"),
    ("dcl", "the public CIFAR code", "twice ours: a sum over both directions"),
]
DEPARTURES = [  # loss or part, the gradient here, the gradient there, how far apart, how to have theirs
    (
        "dclw",
        "weights are constants (as in lightly)",
        "weights are differentiated",
        "0.29, 7.7 and 21 %",
        "`loss.detach_weights=false`",
    ),
    (
        "latent part `whiten`",
        "passes through the whitening matrix",
        "the matrix is a constant",
        "40, 16 and 16 %",
        "`latent.whiten.detach_matrix=true`",
    ),
    (
        "wmse",
        "both views have a gradient, and covariances a shrinkage of 1e-5",
        "solo-learn detaches the second view; no shrinkage",
        "0.006 % by the shrinkage alone, more where covariances are ill-conditioned",
        "`teacher=stop_gradient` detaches targets; a smaller `loss.shrinkage`",
    ),
    (
        "sogclr, isogclr",
        "the average of an image begins with its first batch",
        "LibAUC begins so only in a batch of new images; else with 0, so that the repulsion is 1/gamma times ours",
        "value and gradient, at an image's first visit alone",
        "none",
    ),
    (
        "latent part `hallucinator`",
        "partners as the encoder gives them, or both of unit length (`normalise=true`)",
        "keys of unit length beside queries of any",
        "10, 9.3 and 12 % with queries of length 5.7",
        "`latent.hallucinator.literal=true`",
    ),
    (
        "cacr with a queue",
        "one setting for all weights: constants with `detach_weights=true`",
        "weights of the queue and of positives are constants, those of the batch are not",
        "not measured",
        "none",
    ),
    (
        "SGD of any recipe",
        "norms and biases have no weight decay",
        "the original SGD recipes (MoCo, SimSiam, SupCon) decay them",
        "not measured",
        "none",
    ),
]


def main() -> None:
    (ROOT / "docs" / "losses.md").write_text(markdown())


def markdown() -> str:
    names = sorted(file.stem for file in (ROOT / "conf" / "loss").glob("*.yaml"))
    tables = [HEAD, *table(names), PARITY_HEAD, *cells(PARITY), MULTIPLES_HEAD, *cells(MULTIPLES)]
    return "\n".join([*tables, DEPARTURES_HEAD, *cells(DEPARTURES), LOSSES_HEAD, *(section(name) for name in names)])


HEAD = """<!-- Written by docs/losses.py: change that, or the docstring of a loss. -->
# Losses

Every loss takes any number of views, any choice of which are queries and which are targets, and any number of ranks.
Cost counts multiply-adds of the forward pass for V views of N images in D dimensions, with C prototypes or P pixels;
memory is bounded by `chunk` wherever there is an N×N matrix. That every loss is exact on 1, 2 and 4 ranks, in value and
gradient, is a test that a loss joins by its yaml (`tests/ssl/losses/test_every_loss.py`), and so is every reduction to
another loss in this table (`tests/ssl/losses/test_reductions.py`).

| loss | paper | reduces to | cost | exact on any number of ranks |
|---|---|---|---|---|"""

PARITY_HEAD = """
## Beside lightly and solo-learn

Ours against lightly 1.6, where it has the loss: on one process by `tests/ssl/losses/test_parity.py`, on two by
`python -m bench.ranks`, which prints the relative differences; there lightly gathers, which it does only when told to
(`gather_distributed=True`). What is said of solo-learn is by its formulas.

| loss | lightly, one process | lightly, two processes | solo-learn |
|---|---|---|---|"""

MULTIPLES_HEAD = """
## Multiples of the official value

A loss here is a mean over images, directions and heads. Where the official code sums, its value and gradient are a
multiple of ours. That matters for gradient clipping, for SGD, and for norms and biases, which have no trust ratio under
LARS. LARS elsewhere, Adam and Muon make the same step for any multiple.

| loss | setting | official value |
|---|---|---|"""

DEPARTURES_HEAD = """
## Same value, another gradient

Relative differences of gradients are printed by `python -m bench.departures`: two views of 256 images, the second with
noise of 0.1, 0.5 and 2 times the first's length. The paper of DCLW does not say whether its weights are constants.

| | gradient here | gradient of the reference code | difference | to have theirs |
|---|---|---|---|---|"""

LOSSES_HEAD = """
## Their equations"""


def table(names: list[str]) -> list[str]:
    return [f"| [`{name}`](#{name}) | {paper(name)} | {reductions(name)} | {COST[name]} | yes |" for name in names]


def paper(name: str) -> str:
    """Author and year, from the yaml's comment or else the docstring."""
    text = comment(name) + " " + (inspect.getdoc(loss_class(name)) or "")
    found = re.search(r"\(?([A-Z][\w&-]+(?: & \w+)?(?: et al\.)? (?:19|20)\d\d)", text)
    return found.group(1) if found else ""


def reductions(name: str) -> str:
    spelled = [spell(name, reduction) for reduction in REDUCTIONS.get(name, [])]
    return "; ".join(filter(None, [*spelled, REMARKS.get(name, "")]))


def spell(name: str, reduction: Reduction) -> str:
    when = ", ".join(f"{key}={value}" for key, value in reduction.when.items())
    options = ", ".join(f"{key}={value}" for key, value in reduction.options.items())
    times = f"{reduction.factor:g} × " if reduction.factor != 1 else ""
    what = "the gradient of " if reduction.gradient_only else ""
    one_way = " from one view to the other" if reduction.one_way else ""
    target = f"{what}{times}`{reduction.to}`" + (f" ({options})" if options else "") + one_way
    return f"{target}, with {when}" if when else target


def cells(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in rows]


def spelled(value: Any) -> Any:
    """An option; of a part its own options."""
    return {k: v for k, v in value.items() if k != "_target_"} if isinstance(value, dict) else value


def section(name: str) -> str:
    """The yaml's comment, the docstring and the options of a loss."""
    documentation = re.sub(r"\n\nArgs:.*", "", inspect.getdoc(loss_class(name)) or "", flags=re.DOTALL)
    blocks = [as_code(block) if block.startswith("    ") else block for block in documentation.split("\n\n")]
    options = {key: value for key, value in node(name).items() if key not in ("_target_", "defaults")}
    chosen = ", ".join(f"`{key}={spelled(value)}`" for key, value in options.items())
    parts = [f"\n### {name}", comment(name), *blocks, f"Options: {chosen}." if chosen else ""]
    return "\n\n".join(filter(None, parts))


def as_code(block: str) -> str:
    return f"```\n{inspect.cleandoc(block)}\n```"


def comment(name: str) -> str:
    lines = (ROOT / "conf" / "loss" / f"{name}.yaml").read_text().splitlines()
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


def node(name: str) -> dict[str, Any]:
    """What the yaml says, or that of the loss whose other name it is."""
    found = yaml.safe_load((ROOT / "conf" / "loss" / f"{name}.yaml").read_text())
    return found if "_target_" in found else node(found["defaults"][0])


def loss_class(name: str) -> type:
    return get_class(node(name)["_target_"])


if __name__ == "__main__":
    main()
