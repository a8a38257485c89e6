import csv
import json
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from cli import SMALL, Cli
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from scipy.stats import chisquare, hypergeom
from sslab.datamodules.datamodule import DataModule
from sslab.datamodules.reading.images import Stack
from sslab.datamodules.sources.inflated import Inflated, copied
from sslab.datamodules.views.plain import Plain
from sslab.ssl.core.errors import UserError
from sslab.ssl.experiment.build import build
from torch import Tensor

REAL, MADE = 20, 30


class Source(NamedTuple):
    train: Stack
    test: Stack | None = None

    @classmethod
    def of(cls, count: int = REAL, side: int = 4) -> "Source":
        """Images whose pixels are their row, in two classes, with one factor."""
        row = torch.arange(count)
        stack = row.to(torch.uint8)[:, None, None, None].expand(-1, 3, side, side)
        images = Stack.of(stack, row % 2, ("even", "odd"))
        return cls(Stack(stack, images.label, row[:, None] % 3, images.source, ("third",), images.classes))


@pytest.fixture
def samples(tmp_path: Path) -> str:
    """Generated images, whose pixels are 100 and their number."""
    pixels = np.arange(100, 100 + MADE, dtype=np.uint8)[:, None, None, None]
    np.savez(tmp_path / "samples.npz", image=np.broadcast_to(pixels, (MADE, 4, 4, 3)))
    return str(tmp_path / "samples.npz")


def epoch(data: DataModule, number: int = 0) -> dict[str, Tensor]:
    """What an epoch serves, as one."""
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    batches = list(loader)
    names = ("images", "row", "key", "label", "factors", "source")
    return {name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("settings", [{}, {"resident": False, "workers": 0}], ids=["resident", "streamed"])
def test_an_epoch_has_every_real_image_m_times_and_every_generated_one_once(
    samples: str, copies: int, settings: dict[str, Any]
) -> None:
    served = epoch(DataModule(Source.of(), 10, generated=samples, copies=copies, **settings))
    count = served["row"].bincount(minlength=REAL + MADE)
    assert count.tolist() == [copies] * REAL + [1] * MADE
    real = served["row"] < REAL
    assert torch.equal(served["source"], (~real).long())
    assert torch.equal(
        served["images"][:, 0, 0, 0].long(), torch.where(real, served["row"], served["row"] - REAL + 100)
    )
    assert torch.equal(served["label"], torch.where(real, served["row"] % 2, -1))
    assert torch.equal(served["factors"][:, 0], torch.where(real, served["row"] % 3, -1))
    assert len(served["key"].unique()) == len(served["key"])  # copies are seen in other views


@pytest.mark.parametrize(
    ("real", "made", "copies", "share"),
    [(50_000, 10**6, 1, 0.0476), (50_000, 10**6, 10, 0.3333), (5000, 500_000, 10, 0.0909)],
)
def test_the_published_shares_of_real_images(real: int, made: int, copies: int, share: float) -> None:
    source = (torch.arange(real + made) >= real).long()
    rows = copied(torch.arange(real + made), source, copies)
    assert len(rows) == copies * real + made
    exact = Fraction(copies * real, copies * real + made)
    assert int((rows < real).sum()) == exact * len(rows)
    assert round(float(exact), 4) == share


def test_a_batch_is_drawn_from_all_copies_alike(samples: str) -> None:
    """The real images in the first batch of 2000 epochs, out of 60 real places and 30 generated ones."""
    data = DataModule(Source.of(), 9, generated=samples, copies=3)
    sampler = data.train_dataloader().sampler
    found = torch.zeros(10)
    for number in range(2000):
        sampler.set_epoch(number)
        found[int((data.rows[next(iter(sampler)).choice] < REAL).sum())] += 1
    expected = torch.from_numpy(2000 * hypergeom(90, 60, 9).pmf(range(10)))
    bins = [[0, 1, 2, 3], [4], [5], [6], [7], [8], [9]]
    assert chisquare(*([x[some].sum() for some in bins] for x in (found, expected))).pvalue > 1e-3


def test_total_variation_shrinks_by_the_share_of_generated_images(samples: str) -> None:
    """TV(P_t, P_d) = (1 - β) TV(P_g, P_d), of the colours modulo 7, over a whole epoch."""
    data = DataModule(Source.of(), 9, generated=samples, copies=3)
    served = epoch(data)
    colour = served["images"][:, 0, 0, 0].long() % 7

    def distribution(which: Tensor) -> Tensor:
        return which.bincount(minlength=7).double() / len(which)

    made = served["source"] == 1
    trained, real, generated = (distribution(some) for some in (colour, colour[~made], colour[made]))
    beta = 3 * REAL / (3 * REAL + MADE)
    torch.testing.assert_close((trained - real).abs().sum(), (1 - beta) * (generated - real).abs().sum())


def test_one_copy_and_nothing_generated_is_the_data_set_itself() -> None:
    plain, same = epoch(DataModule(Source.of(), 5)), epoch(DataModule(Source.of(), 5, generated=None, copies=1))
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    many = epoch(DataModule(Source.of(), 5, copies=4))
    assert many["row"].bincount().tolist() == [4] * REAL


def test_an_epoch_is_the_seeds_alone(samples: str) -> None:
    first, again, other = (
        epoch(DataModule(Source.of(), 10, seed, generated=samples, copies=2), number=3) for seed in (1, 1, 2)
    )
    assert torch.equal(first["row"], again["row"])
    assert not torch.equal(first["row"], other["row"])


def test_held_out_rows_are_real_and_never_trained_on(samples: str) -> None:
    data = DataModule(Source.of(), 10, generated=samples, copies=2, holdout=0.5)
    alone = DataModule(Source.of(), 10, holdout=0.5)
    assert torch.equal(data.held_out, alone.held_out)
    served = epoch(data)["row"]
    assert not torch.isin(served, data.held_out).any()
    assert len(data.rows) == 2 * (REAL - 10) + MADE


@pytest.mark.parametrize("resident", [True, False])
def test_evaluation_sees_the_real_images_alone_and_in_their_rows(samples: str, resident: bool) -> None:
    data = DataModule(Source.of(), 10, generated=samples, resident=resident)
    data.setup("fit")
    real, whole = data.real_images, Source.of().train
    assert len(data.train_images) == REAL + MADE
    assert len(real) == REAL
    assert torch.equal(real.label, whole.label)
    assert torch.equal(real.factors, whole.factors)
    assert all(torch.equal(real.read(row), whole.read(row)) for row in range(REAL))
    if resident:  # in the same memory
        assert real.stack is not None
        assert data.train_images.stack is not None
        assert real.stack.data_ptr() == data.train_images.stack.data_ptr()


def test_without_generated_images_evaluation_sees_all() -> None:
    data = DataModule(Source.of(), 10)
    assert data.real_images.label.equal(data.train_images.label)


def test_an_unreadable_real_image_gives_way_to_a_real_one(paint: Any, tmp_path: Path) -> None:
    from sslab.datamodules.sources.folder import Folder

    for i in range(8):
        paint(f"real/{'ab'[i // 4]}/{i}.png", 6, 6)
        paint(f"made/{i}.png", 6, 6)
    (tmp_path / "real/b/7.png").write_bytes(b"broken")  # the last, after which the generated ones begin
    source = Folder(str(tmp_path / "real"), test_fraction=0)
    data = DataModule(source, 8, generated=str(tmp_path / "made"), copies=2, max_bad=0.1)
    data.setup("fit")
    real = data.real_images
    assert torch.equal(real.read(7), real.read(0))
    assert real.label[7] == -1
    served = epoch(data)
    assert not (served["row"] == 7).any()
    assert int((served["source"] == 0).sum()) >= 14


def test_images_of_other_sizes_stream_from_workers_or_are_refused(samples: str) -> None:
    views = Plain(4, [0.5] * 3, [0.5] * 3)
    data = DataModule(Source.of(side=6), 10, generated=samples, views=views, workers=0)
    data.setup("fit")
    assert data.train_images.stack is None
    assert next(iter(data.train_dataloader())).crops[0].image.shape == (10, 3, 4, 4)
    with pytest.raises(UserError, match=r"images differ in size \(6x6, then 4x4 in row 20\): set data.held"):
        DataModule(Source.of(side=6), 10, generated=samples, resident=True).setup("fit")


def test_rows_are_read_where_they_are() -> None:
    real, made = Source.of(5).train, Source.of(7).train
    both = Inflated(real, made)
    assert (len(both), both.stack) == (12, None)
    assert both.read(4).data_ptr() == real.read(4).data_ptr()
    assert both.read(5).data_ptr() == made.read(0).data_ptr()
    assert both.label.tolist() == [0, 1, 0, 1, 0] + [-1] * 7


@pytest.mark.parametrize("copies", [0, -1])
def test_no_copy_at_all_is_refused(samples: str, copies: int) -> None:
    with pytest.raises(UserError, match=f"data.copies={copies}"):
        DataModule(Source.of(), 10, generated=samples, copies=copies)


def composed(*overrides: str) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_module("sslab.conf", version_base="1.3"):
        return compose("config", ["name=test", *overrides])


NAMES = ("jitter", "brightness", "contrast", "saturation", "hue", "grey", "blur", "flip")
TABLE: dict[str, tuple[float, ...]] = {
    "simclr": (0.8, 0.8, 0.8, 0.8, 0.2, 0.2, 0.5, 0.5),
    "adainf": (0.4, 0.4, 0.4, 0.4, 0.1, 0.2, 0.5, 0.5),
    "byol_sharp": (0.8, 0.4, 0.4, 0.2, 0.1, 0.2, 0.0, 0.5),
    "adainf_asym": (0.4, 0.4, 0.4, 0.2, 0.1, 0.2, 0.0, 0.5),
}


@pytest.mark.parametrize("choice", TABLE)
def test_views_have_the_published_numbers(choice: str) -> None:
    views = composed(f"views={choice}").views
    assert tuple(views[name] for name in NAMES) == TABLE[choice]
    assert views.scale == ([0.2, 1.0] if "adainf" in choice else [0.08, 1.0])
    assert views.solarise == (0 if choice in ("simclr", "adainf") else [0.0, 0.2])
    assert views.blur_sigma == [0.1, 2.0]
    assert views.count == 2


@pytest.mark.parametrize(
    ("standard", "weak", "changed"),
    [
        ("simclr", "adainf", {"scale", "jitter", "brightness", "contrast", "saturation", "hue"}),
        ("byol_sharp", "adainf_asym", {"scale", "jitter"}),
    ],
)
def test_weak_views_differ_from_the_standard_ones_in_nothing_else(standard: str, weak: str, changed: set[str]) -> None:
    a, b = (composed(f"views={choice}").views for choice in (standard, weak))
    assert a.keys() == b.keys()
    assert {name for name in a if a[name] != b[name]} == changed


def test_none_vanilla_and_adainf_have_equal_budgets_and_differ_in_data_and_views_alone() -> None:
    recipes = (("simclr_inflated", "null"), ("simclr_inflated", "samples"), ("adainf_simclr", "samples"))
    none, vanilla, adainf = (composed(f"experiment={name}", f"data.generated={path}") for name, path in recipes)
    for config in (none, vanilla, adainf):
        assert (config.trainer.max_steps, config.trainer.max_epochs, config.data.batch_size) == (100_000, None, 512)
    assert {key for key in none if none[key] != vanilla[key]} == {"data", "eval"}  # whose gap is to what is generated
    assert {key for key in vanilla if vanilla[key] != adainf[key]} == {"data", "views"}
    assert {key for key in vanilla.data if vanilla.data[key] != adainf.data[key]} == {"copies"}
    assert (vanilla.data.copies, adainf.data.copies) == (1, 10)


def test_the_budget_that_is_built_is_the_same_for_all_three(samples: str) -> None:
    budgets = set()
    for name, path in (("simclr_inflated", "null"), ("simclr_inflated", samples), ("adainf_simclr", samples)):
        small = ("backbone=resnet_tiny", "trainer=cpu", f"data.generated={path}")
        config: Any = OmegaConf.to_container(composed(f"experiment={name}", *small), resolve=True)
        module = build(config).module
        budgets.add((module.total_steps, module.total_batch))
    assert budgets == {(100_000, 512)}


@pytest.mark.slow
def test_a_run_measures_real_images_alone(cli: Cli) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 32, 32, 3), np.uint8)
    np.savez(cli.folder / "samples.npz", image=pixels)
    small = (*SMALL, "trainer.max_steps=2", "data.holdout=40", "monitor.knn.every=1", "monitor.knn.k=5")
    run = cli.run("data=inflated", "data.generated=samples.npz", *small)
    rows = json.loads((run / "results.json").read_text())
    assert {row["n"] for row in rows if row["metric"] == "rankme"} == {600}
    assert {row["n"] for row in rows if row["metric"] == "knn_accuracy"} == {200}
    with (run / "metrics.csv").open() as file:
        assert len([row for row in csv.DictReader(file) if row["monitor/knn_accuracy"]]) == 2


def test_generated_images_that_are_not_named_are_asked_for(cli: Cli) -> None:
    for choice in (["data=inflated"], ["experiment=simclr_inflated"], ["experiment=adainf_byol", "data=cifar10"]):
        assert cli.refuse(*choice) == "error: data.generated has no value: set data.generated=…"
