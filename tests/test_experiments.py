"""Every recipe trains on shapes, goes on after a stop as if nothing had been, and its loss falls."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli import Cli
from foregrounds import save_foreground
from sslab.conf import BASES

NAMES = BASES  # of one run each
STEPS, MIDDLE = 30, 15
# The published parts and losses, at a size and a rate for thirty steps on 128 images.
SMALL = (
    "trainer=cpu",
    "trainer.max_epochs=null",
    f"trainer.max_steps={STEPS}",
    "trainer.log_every=1",
    f"trainer.checkpoint_every={MIDDLE}",
    f"trainer.keep_every={MIDDLE}",
    "backbone=resnet_tiny",
    "data.source.train=128",
    "data.source.test=32",
    "data.batch_size=32",
    "data.holdout=0",
    "optim=adamw",
    "optim.lr=2e-3",
    "optim.scaling=none",
    "optim.warmup=0",
    "optim.milestones=[]",
    "monitor=none",
    "eval=none",
)
VIEWS = ("views=gentle", "views.scale=[0.5,1.0]")
QUEUE = "latent.queue.size=64"  # one step fills it
# A queue's keys are of an earlier network: it must not move far until the queue is full.
SLOWLY = ("views.hue=0.1", "views.grey=0", "optim=lars", "optim.lr=1.0", "optim.warmup=0.3")
MOCO = (QUEUE, "head.norm=batch", *SLOWLY)
EASY = ("data.source.train=32", "views.jitter=0", "views.grey=0", "views.scale=[0.8,1.0]", "optim.lr=4e-3")
SHARP = ("teacher.start=0.99", "loss.warmup_epochs=4.0")
TEACHER = ("teacher.start=0.8", "teacher.end=0.8")
WIDE = ("head.hidden=128", "head.dim=128")
INFLATED = "data.generated=samples.npz"
GENVIEW = (
    "views@views.source=gentle",
    "views.source.scale=[0.5,1.0]",
    "data.partners=partners",
    "latent.quality.foreground=foreground",
)
FITTING: dict[str, tuple[str, ...]] = {
    "adainf_barlow": (*WIDE, INFLATED),
    "adainf_byol": (*TEACHER, "head.hidden=128", "predictor.hidden=128", INFLATED),
    "adainf_moco": (*MOCO, *TEACHER, INFLATED),
    "adainf_simclr": (INFLATED,),
    "amcl_moco": (QUEUE, *TEACHER, *SLOWLY),
    "amcl_simsiam": WIDE,
    "barlow": WIDE,
    "byol": (*TEACHER, "predictor.hidden=128"),
    "cacr_moco": (QUEUE, *TEACHER),
    "dino": (
        *EASY,
        *TEACHER,
        "head.hidden=128",
        "head.prototypes=32",
        "head.frozen_epochs=0.0",
    ),
    "ft": (*MOCO, *TEACHER),
    "genview_byol": (*TEACHER, "predictor.hidden=128", *GENVIEW),
    "genview_mocov3": (*TEACHER, "predictor.hidden=128", *GENVIEW),
    "genview_simclr": GENVIEW,
    "genview_simsiam": (*WIDE, *GENVIEW),
    "genview_swav": (
        QUEUE,
        "latent.queue.from_epoch=1",
        "head.hidden=128",
        "head.prototypes=32",
        "head.frozen_epochs=1.0",
        *GENVIEW,
    ),
    "groco": WIDE,
    "hallucinator_byol": (*TEACHER, "head.hidden=128", "predictor.hidden=128"),
    "hallucinator_moco": (*MOCO, *TEACHER),
    "hallucinator_simsiam": WIDE,
    "hard_infonce": (QUEUE, "loss.keep.k=16"),
    "isogclr": WIDE,
    "mochi": (*MOCO, *TEACHER, "latent.mochi.hardest=16", "latent.mochi.mixed=16", "latent.mochi.from_epoch=0"),
    "moco_dcl": (*MOCO, *TEACHER),
    "mocov2": (*MOCO, *TEACHER),
    "mocov3": (*TEACHER, "predictor.hidden=128"),
    "nnclr": (QUEUE, "predictor.hidden=128"),
    "nnclr_dcl": (QUEUE, "predictor.hidden=128"),
    "pixcontrast": (*TEACHER, "head.hidden=128", "head.dim=64"),
    "pixpro": (*TEACHER, "head.hidden=128", "head.dim=64"),
    "pixpro_instance": (
        *TEACHER,
        "head.heads.dense.hidden=128",
        "head.heads.instance.hidden=128",
        "predictor.predictors.instance.hidden=128",
    ),
    "simclr_inflated": (INFLATED,),
    "simlap": WIDE,
    "simlap_moco": (*TEACHER, *WIDE, "predictor.hidden=128", "loss.losses.classes.gate_epochs=1.0"),
    "simsiam": WIDE,
    "sogclr": WIDE,
    "swav": (QUEUE, "latent.queue.from_epoch=1", "head.hidden=128", "head.prototypes=32", "head.frozen_epochs=1.0"),
    "vicreg": WIDE,
    "wmse": ("loss.whitening_size=32", "head.dim=16"),
}
QUEUED = (
    "adainf_moco",
    "amcl_moco",
    "cacr_moco",
    "ft",
    "hallucinator_moco",
    "hard_infonce",
    "mochi",
    "moco_dcl",
    "mocov2",
)
FIRST = dict.fromkeys(QUEUED, 1)  # step with negatives
FIRST["dino"] = 10  # the centre is a mean over about as many steps


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as f:
        return [float(row["loss"]) for row in csv.DictReader(f) if row["loss"]]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_resumes_and_learns(cli: Cli, generate: Cli, name: str) -> None:
    fitting, views = FITTING.get(name, ()), VIEWS
    if INFLATED in fitting:
        np.savez(cli.folder / "samples.npz", image=np.stack([np.full((32, 32, 3), i, np.uint8) for i in range(64)]))
    if set(GENVIEW) <= {*fitting}:
        views = ()
        save_foreground(cli.folder / "foreground")
        assert generate("trainer=cpu", "data.source.train=128", "data.source.test=32", "out=partners").code == 0
    run = cli.run(f"experiment={name}", *SMALL, *views, *fitting)
    whole, checkpoints = losses(run), run / "checkpoints"
    unbroken = torch.load(checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    assert len(whole) == STEPS
    shutil.copy(checkpoints / f"step-{MIDDLE:06d}.ckpt", checkpoints / "last.ckpt")
    assert cli(f"resume={run}").code == 0
    resumed = torch.load(checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    assert resumed.keys() == unbroken.keys()
    assert all(torch.equal(resumed[key], unbroken[key]) for key in unbroken)
    assert losses(run) == whole
    begin = FIRST.get(name, 0)
    assert mean(whole[-4:]) < mean(whole[begin : begin + 3])
