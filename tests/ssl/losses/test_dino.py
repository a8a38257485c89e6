import math
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import SMALL, Cli
from embeddings import normal
from ranks import outcomes
from sslab.ssl.core.distributed import rank, total, world
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Step, pairs
from sslab.ssl.losses.dino import DINO
from torch import Tensor


def multicrop(seed: int = 0, share: slice = slice(None), **known: Any) -> Step:
    """Queries of three views and targets of the first two, of four images and six prototypes."""
    q, k = normal(3, 4, 6, seed=seed)[:, share], normal(2, 4, 6, seed=seed + 1)[:, share]
    return Step.of(dict(enumerate(q)), dict(enumerate(k)), **known)


def softmax(scores: list[float], temperature: float) -> list[float]:
    terms = [math.exp(score / temperature) for score in scores]
    return [term / sum(terms) for term in terms]


def by_loops(step: Step, centre: Tensor, temperature: float, target_temperature: float) -> float:
    values = []
    for a, b in pairs(step):
        for q, k in zip(step.q[a].tolist(), (step.k[b] - centre).tolist(), strict=True):
            predicted, wanted = softmax(q, temperature), softmax(k, target_temperature)
            values.append(-sum(w * math.log(p) for w, p in zip(wanted, predicted, strict=True)))
    return sum(values) / len(values)


def test_equals_the_definition_with_the_centre_as_it_was_before() -> None:
    loss, centre = DINO(temperature=0.3, start=0.2, end=0.2, dim=6), torch.zeros(6, dtype=torch.float64)
    for seed in range(0, 6, 2):
        step = multicrop(seed)
        assert loss(step).total.item() == pytest.approx(by_loops(step, centre, 0.3, 0.2), rel=1e-10)
        centre = 0.9 * centre + 0.1 * torch.stack([*step.k.values()]).mean(dim=(0, 1))


def test_the_centre_is_the_moving_average_of_all_targets() -> None:
    loss, seeds = DINO(momentum=0.8, dim=6), range(0, 10, 2)
    for seed in seeds:
        loss(multicrop(seed, weight=torch.arange(4.0)))
    means = [torch.cat([*multicrop(seed).k.values()]).mean(dim=0) for seed in seeds]
    expected = sum(0.2 * 0.8 ** (len(means) - 1 - i) * mean for i, mean in enumerate(means))
    torch.testing.assert_close(loss.centre, expected)
    assert list(loss.state_dict()) == ["centre"]


def test_the_centre_stands_still_outside_training() -> None:
    loss = DINO(dim=6).eval()
    loss(multicrop())
    assert loss.centre.abs().max() == 0


def test_the_centre_takes_from_targets_what_they_share() -> None:
    step, offset = multicrop(), 3 * normal(6, seed=7)
    expected = DINO()(step).total
    moved = DINO(dim=6)
    moved.centre.copy_(offset)
    shifted = step._replace(k={v: k + offset for v, k in step.k.items()})
    torch.testing.assert_close(moved(shifted).total, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("progress", "temperature"), [(0.0, 0.04), (0.05, 0.045), (0.15, 0.055), (0.3, 0.07), (0.9, 0.07)]
)
def test_the_targets_temperature_rises_over_the_warm_up_epochs(progress: float, temperature: float) -> None:
    assert DINO(epochs=100.0).target_temperature(progress) == pytest.approx(temperature)
    step = multicrop(progress=progress)
    constant = DINO(start=temperature, end=temperature)(step).total
    torch.testing.assert_close(DINO(epochs=100.0)(step).total, constant)


def test_without_warm_up_the_temperature_is_the_last_one_from_the_start() -> None:
    assert DINO(warmup_epochs=0.0).target_temperature(0.0) == 0.07


def test_confidence_is_the_largest_share_of_what_is_to_be_predicted() -> None:
    wanted = torch.stack([*multicrop().k.values()]).div(0.04).softmax(dim=2)
    torch.testing.assert_close(DINO()(multicrop()).terms["confidence"], wanted.amax(dim=2).mean())


def test_only_queries_get_a_gradient() -> None:
    loss, k = DINO(dim=6).eval(), normal(2, 4, 6, seed=1).requires_grad_()

    def value(q: Tensor) -> Tensor:
        return loss(Step.of(dict(enumerate(q)), dict(enumerate(k)))).total

    q = normal(2, 4, 6).requires_grad_()
    assert torch.autograd.gradcheck(value, q)
    value(q).backward()
    assert k.grad is None


def under_ranks() -> dict[str, Tensor]:
    """The global value of the last of three steps, and the centre after it, from this rank's images."""
    loss = DINO(dim=6)
    share = slice(rank() * 4 // world(), (rank() + 1) * 4 // world())
    for seed in range(0, 6, 2):
        weight = torch.tensor([1.0, 2.0, 0.5, 4.0])[share]
        value = loss(multicrop(seed, share, weight=weight)).total
    return {"value": total(value) / world(), "centre": loss.centre}


def test_ranks_have_the_value_and_the_centre_of_one_process(tmp_path: Path) -> None:
    expected = under_ranks()
    for outcome in outcomes(under_ranks, (2,), tmp_path)[2]:
        torch.testing.assert_close(outcome, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{"start": 0.0}, {"end": -1.0}, {"momentum": 1.0}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="expected above 0, above 0, and in"):
        DINO(**options)


RUN = (*SMALL, "data.source.train=96", "data.holdout=0", "eval=none", "monitor=none", "trainer.precision=32-true")
PARTS = ("head=prototypes", "head.prototypes=32", "loss=dino", "teacher=ema")


@pytest.mark.slow
def test_prototypes_are_frozen_for_an_epoch_and_a_resumed_run_ends_as_the_unbroken_one(cli: Cli) -> None:
    def saved(name: str) -> dict[str, Tensor]:
        return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]

    run = cli.run(*RUN, *PARTS, "trainer.max_steps=5", "trainer.keep_every=1")  # 3 steps an epoch
    first, third, fourth, unbroken = map(saved, ("step-000001", "step-000003", "step-000004", "last"))
    assert torch.equal(first["encoder.head.prototypes"], third["encoder.head.prototypes"])
    assert not torch.equal(third["encoder.head.prototypes"], fourth["encoder.head.prototypes"])
    assert not torch.equal(third["teacher.encoder.head.prototypes"], unbroken["teacher.encoder.head.prototypes"])
    assert unbroken["loss.centre"].shape == (32,)
    assert not torch.equal(third["loss.centre"], unbroken["loss.centre"])
    checkpoints = run / "checkpoints"
    (checkpoints / "step-000002.ckpt").replace(checkpoints / "last.ckpt")
    assert cli(f"resume={run}").code == 0
    resumed = saved("last")
    assert resumed.keys() == unbroken.keys()
    assert all(torch.equal(resumed[k], v) for k, v in unbroken.items())
