"""The callbacks on a small but real training loop, with accumulation, clipping and a real backbone."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning.loggers import CSVLogger
from ranks import outcomes
from samples import images
from sslab.datamodules.reading.images import Stack
from sslab.datamodules.views.plain import Plain
from sslab.eval.features.extract import extract
from sslab.eval.measures.geometry import alignment, uniformity
from sslab.eval.measures.spectrum import rankme
from sslab.eval.monitors.knn import OnlineKNN
from sslab.eval.monitors.periodic import Monitor, collapse, read
from sslab.eval.monitors.probe import OnlineProbe
from sslab.eval.neighbours.knn import knn
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch, Features, Step
from sslab.ssl.model.backbones import Backbone
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

VIEW = Plain(16, [0.5] * 3, [0.25] * 3)
HEALTHY = {"positive_similarity": 0.8, "negative_similarity": 0.1, "feature_std_ratio": 0.9, "rankme": 40.0}


class Tiny(pl.LightningModule):
    """Two views that differ by noise, a backbone with batch norm, dropout, and the cosine of both."""

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.plain_view, self.rate = Backbone("resnet_tiny", 16), VIEW, rate
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(128, 8))
        self.step_record: Step | None = None

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        view = VIEW(batch)[0].image
        features = {v: self.backbone(view + torch.randn_like(view)) for v in (0, 1)}
        z = {v: self.head(f.pooled) for v, f in features.items()}
        detached = {v: Features(*(t.detach() for t in f)) for v, f in features.items()}
        k = {v: x.detach() for v, x in z.items()}
        self.step_record = Step.of(k, k, batch, features=detached)
        return -nn.functional.cosine_similarity(z[0], z[1]).mean() + z[0].square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.rate, momentum=0.9)


class Data(pl.LightningDataModule):
    def __init__(self, data: Stack, held_out: Tensor) -> None:
        super().__init__()
        self.train_images = self.real_images = data
        self.held_out = held_out

    def train_dataloader(self) -> DataLoader[Any]:
        label = self.train_images.label
        batches = [Batch.of(self.train_images.stack[rows], label=label[rows]) for rows in torch.arange(48).split(8)]
        return DataLoader(batches, batch_size=None, generator=torch.Generator())  # pyright: ignore[reportArgumentType]


def train(folder: Path, monitors: list[pl.Callback], data: Data | None = None, **settings: Any) -> Tiny:
    module = Tiny()
    torch.manual_seed(1)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=12,
        max_epochs=-1,
        accumulate_grad_batches=2,
        gradient_clip_val=0.1,
        callbacks=monitors,
        logger=[CSVLogger(folder, name="", version="")],
        log_every_n_steps=5,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **settings,
    )
    trainer.fit(module, datamodule=data or Data(images(60), torch.arange(48, 60)))
    return module


def logged(folder: Path) -> dict[int, dict[str, float]]:
    """What was written, by step."""
    if not (folder / "metrics.csv").exists():
        return {}
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps: dict[int, dict[str, float]] = {}
    for row in rows:
        known = {k.removeprefix("monitor/"): float(v) for k, v in row.items() if v and k.startswith("monitor/")}
        steps.setdefault(int(row["step"]), {}).update(known)
    return {step: values for step, values in steps.items() if values}


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*pin_memory"),
]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_weights_are_the_same_bit_for_bit(tmp_path, precision):
    """Dropout and the views' noise come from the global generator here: a draw by a monitor would show."""
    watched = train(tmp_path, [Monitor(2), OnlineKNN(3, bank=40, k=5), OnlineProbe(3)], precision=precision)
    alone = train(tmp_path / "alone", [], precision=precision)
    assert all(v.equal(alone.state_dict()[k]) for k, v in watched.state_dict().items())
    assert [m.training for m in watched.modules()] == [m.training for m in alone.modules()]
    assert list(logged(tmp_path)) == [1, 2, 3, 5, 7, 8, 9, 11]


def test_readings_are_written_every_n_optimiser_steps(tmp_path):
    """`log_every_n_steps` is 5 and two batches make a step: neither matters."""
    train(tmp_path, [Monitor(4)])
    steps = logged(tmp_path)
    assert list(steps) == [3, 7, 11]
    names = {"alignment", "uniformity", "feature_std_ratio", "positive_similarity", "negative_similarity"}
    assert all(set(values) == names | {"rankme", "rankme_features", "gradient_norm"} for values in steps.values())


def test_readings_are_those_of_the_last_step(tmp_path):
    module = train(tmp_path, [Monitor(12)])
    assert module.step_record is not None
    q, k = (normalize(z) for z in (module.step_record.q[0], module.step_record.k[1]))
    values = logged(tmp_path)[11]
    assert values["alignment"] == pytest.approx(alignment(q, k).item(), rel=1e-5)
    assert values["uniformity"] == pytest.approx(uniformity(q).item(), rel=1e-5)
    assert values["rankme"] == pytest.approx(rankme(q).item(), rel=1e-5)
    assert values["rankme_features"] == pytest.approx(rankme(module.step_record.features[0].pooled).item(), rel=1e-5)


def test_gradient_norm_is_taken_before_clipping(tmp_path):
    class Witness(pl.Callback):
        norm = 0.0

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            squares = [float(p.grad.square().sum()) for p in pl_module.parameters() if p.grad is not None]
            self.norm = math.sqrt(sum(squares))

    witness = Witness()
    train(tmp_path, [witness, Monitor(12)])
    assert logged(tmp_path)[11]["gradient_norm"] == pytest.approx(witness.norm, rel=1e-5)
    assert witness.norm > 0.1


def test_no_record_no_reading(tmp_path):
    class Silent(Monitor):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            pl_module.step_record = None
            super().on_train_batch_end(trainer, pl_module, *rest)

    train(tmp_path, [Silent(2)])
    assert logged(tmp_path) == {}


def test_shapes_of_embeddings_and_a_lone_view():
    draw = torch.Generator().manual_seed(0)
    heads = torch.randn(10, 3, 4, generator=draw)
    torch.testing.assert_close(read(Step.of({0: heads}, {1: heads}))["rankme"], rankme(normalize(heads.flatten(1))))
    maps = torch.randn(10, 4, 2, 2, generator=draw)
    found = read(Step.of({0: maps}, {0: maps}))
    torch.testing.assert_close(found["uniformity"], uniformity(normalize(maps.mean((2, 3)))))
    assert set(found) == {"uniformity", "feature_std_ratio", "rankme"}


def test_named_heads_are_read_side_by_side():
    z = torch.randn(2, 10, 5, generator=torch.Generator().manual_seed(0))
    named = {v: {"maps": x[:, :3, None, None].expand(-1, -1, 2, 2), "vectors": x[:, 3:]} for v, x in enumerate(z)}
    together = dict(enumerate(z))
    for name, reading in read(Step.of(named, named)).items():
        torch.testing.assert_close(reading, read(Step.of(together, together))[name])


def test_at_most_2048_rows_enter_a_reading():
    z = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0))
    step = Step.of({0: z}, {1: z})
    assert read(step)["uniformity"] == uniformity(normalize(z[:2048]))


@pytest.mark.parametrize(("generated", "readable"), [(12, True), (17, False)])
def test_generated_images_do_not_enter_a_reading(generated, readable):
    z = torch.randn(2, 24, 4, generator=torch.Generator().manual_seed(0))
    source = (torch.arange(24) * 7 % 24 < generated).long()
    batch = Batch.of(torch.zeros(24, 3, 0, 0, dtype=torch.uint8), source=source)
    features = {0: Features(z[1], z[1, :, :, None, None], z[1, :, None])}
    found = read(Step.of({0: z[0]}, {1: z[1]}, batch, features=features))
    real = z[:, source == 0]
    alone = {0: Features(real[1], real[1, :, :, None, None], real[1, :, None])}
    expected = read(Step.of({0: real[0]}, {1: real[1]}, features=alone)) if readable else {}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def readings_of_a_share() -> dict[str, Tensor]:
    """24 rows over all ranks, some of them generated, more on one rank than on the other."""
    from sslab.ssl.core.distributed import rank, world

    z = torch.randn(2, 24, 4, generator=torch.Generator().manual_seed(0)).chunk(world(), 1)[rank()]
    source = (torch.arange(24) < 5).long().chunk(world())[rank()]
    batch = Batch.of(torch.zeros(len(source), 3, 0, 0, dtype=torch.uint8), source=source)
    return read(Step.of({0: z[0]}, {1: z[1]}, batch))


@pytest.mark.slow
def test_two_ranks_read_what_one_process_reads(tmp_path):
    one = readings_of_a_share()
    for found in outcomes(readings_of_a_share, (2,), tmp_path)[2]:
        assert found.keys() == one.keys()
        for name, value in one.items():
            torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"positive_similarity": 0.999}, None),
        ({"positive_similarity": 0.999, "negative_similarity": 0.995}, "all images have nearly the same one"),
        ({"feature_std_ratio": 0.12}, "they spread 0.12 as far as they could"),
        ({"rankme": 1.4}, "they use 1.4 dimensions"),
    ],
)
def test_signs_of_collapse(change, words):
    found = collapse(HEALTHY | change)
    assert found is None if words is None else found is not None and words in found


def test_collapse_is_said_once_and_again_after_a_recovery(caplog):
    monitor = Monitor(1)
    for step, spread in enumerate([0.1, 0.9, 0.1, 0.1, 0.1, 0.9, 0.1, 0.1]):
        monitor.warn(HEALTHY | {"feature_std_ratio": spread}, step)
    assert [record.message.split(":")[0] for record in caplog.records] == ["step 3", "step 7"]
    assert "the embeddings are collapsing: they spread 0.10 as far as they could" in caplog.text


def test_embeddings_in_one_point_are_a_collapse():
    z = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    for embeddings, sign in ((z, False), (1 + 0.01 * z, True)):
        found = read(Step.of({0: embeddings}, {1: embeddings}))
        assert bool(collapse({name: value.item() for name, value in found.items()})) == sign


def test_online_knn_is_that_of_the_parts(tmp_path):
    data = Data(images(60), torch.tensor([1, 4, 30, 50, 59]))
    module = train(tmp_path, [OnlineKNN(12, bank=100, k=5)], data)
    rest = torch.tensor([row for row in range(60) if row not in data.held_out])
    bank, queries = (
        extract(module.backbone, data.train_images, VIEW, module.device, rows=rows) for rows in (rest, data.held_out)
    )
    hits = knn(bank, queries, [5], [0.07])[5, 0.07] == queries.label
    assert logged(tmp_path) == {11: {"knn_accuracy": pytest.approx(hits.double().mean().item())}}


def test_online_knn_takes_fixed_disjoint_labelled_rows():
    label = torch.arange(100) % 4
    label[::3] = -1
    held_out = torch.arange(40, 70)
    bank, queries = OnlineKNN(bank=25, queries=10)._rows(label, held_out)
    assert (len(bank.unique()), len(queries.unique())) == (25, 10)
    assert not torch.isin(bank, held_out).any()
    assert torch.isin(queries, held_out).all()
    assert (label[torch.cat([bank, queries])] >= 0).all()
    assert OnlineKNN(bank=25, queries=10)._rows(label, held_out)[0].equal(bank)


@pytest.mark.parametrize("why", ["no labels", "one class", "nothing held out", "too few for k"])
def test_online_knn_is_silent_without_what_it_needs(tmp_path, why):
    data = Data(images(60), torch.arange(48, 60))
    if why == "no labels":
        data.train_images.label[:] = -1
    elif why == "one class":
        data.train_images.label[:] = 1
    elif why == "nothing held out":
        data.held_out = torch.empty(0, dtype=torch.long)
    train(tmp_path, [OnlineKNN(4, k=50 if why == "too few for k" else 5)], data)
    assert logged(tmp_path) == {}


def test_online_probe_is_the_classifier_that_it_says(tmp_path):
    class Witness(pl.Callback):
        """Trains the same in plain words."""

        def __init__(self) -> None:
            self.weight, self.bias = torch.zeros(3, 128), torch.zeros(3)
            self.speed: list[Tensor] = [torch.zeros(3, 128), torch.zeros(3)]
            self.mean, self.var = torch.zeros(128), torch.ones(128)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            step = pl_module.step_record
            x, y = step.features[0].pooled, step.batch.label
            mean, var = x.mean(0), x.var(0, correction=0)
            self.mean = 0.9 * self.mean + 0.1 * mean
            self.var = 0.9 * self.var + 0.1 * x.var(0)
            unit = (x - mean) / (var + 1e-5).sqrt()
            error = (unit @ self.weight.T + self.bias).softmax(1) - nn.functional.one_hot(y, 3)
            slopes = error.T @ unit / len(x), error.mean(0)
            self.speed = [0.9 * v + slope for v, slope in zip(self.speed, slopes, strict=True)]
            self.weight, self.bias = self.weight - 0.1 * self.speed[0], self.bias - 0.1 * self.speed[1]

    probe, witness = OnlineProbe(12), Witness()
    module = train(tmp_path, [probe, witness], Data(images(60), torch.arange(48, 60)))
    assert probe.probe is not None
    torch.testing.assert_close(probe.probe[1].weight.detach(), witness.weight, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(probe.probe[0].running_var, witness.var)
    store = extract(module.backbone, images(60), VIEW, module.device, rows=torch.arange(48, 60))
    unit = (store.features.float() - witness.mean) / (witness.var + 1e-5).sqrt()
    hits = (unit @ witness.weight.T + witness.bias).argmax(1) == store.label
    assert logged(tmp_path) == {11: {"probe_accuracy": pytest.approx(hits.double().mean().item())}}


def test_online_probe_goes_on_where_it_was():
    def learn(probe: OnlineProbe, seeds: range) -> OnlineProbe:
        probe.classes = 3
        for seed in seeds:
            draw = torch.Generator().manual_seed(seed)
            label = torch.randint(-1, 3, (9,), generator=draw)
            batch = Batch.of(torch.zeros(9, 3, 0, 0, dtype=torch.uint8), label=label)
            probe._learn(torch.randn(9, 4, generator=draw), batch)
        return probe

    whole, first, second = learn(OnlineProbe(), range(4)), learn(OnlineProbe(), range(2)), OnlineProbe()
    second.load_state_dict(first.state_dict())
    learn(second, range(2, 4))
    assert whole.probe is not None
    assert second.probe is not None
    for name, value in whole.probe.state_dict().items():
        assert second.probe.state_dict()[name].equal(value), name


def test_online_probe_learns_nothing_of_rows_without_a_label():
    probe = OnlineProbe()
    probe.classes = 3
    x, label = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, -1, 2, -1, 0])
    source = torch.tensor([0, 0, 0, 1, 0, 0])
    probe._learn(x, Batch.of(torch.zeros(6, 3, 0, 0, dtype=torch.uint8), label=label, source=source))
    assert probe.probe is not None
    unit = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    known = [0, 1, 5]
    error = torch.full((3, 3), 1 / 3) - nn.functional.one_hot(label[known], 3)
    torch.testing.assert_close(probe.probe[1].weight.detach(), -0.1 * error.T @ unit[known] / 3)


@pytest.mark.parametrize("why", ["one class", "nothing held out"])
def test_online_probe_is_silent_without_what_it_needs(tmp_path, why):
    data = Data(images(60), torch.arange(48, 60) if why == "one class" else torch.arange(0))
    if why == "one class":
        data.train_images.label[:] = 1
    train(tmp_path, [OnlineProbe(4)], data)
    assert logged(tmp_path) == {}


def test_every_below_one_is_refused():
    with pytest.raises(UserError, match="every=0: expected 1 or more"):
        Monitor(0)


def test_configs():
    conf = Path(__file__).parents[3] / "conf" / "monitor"
    built = [instantiate(node) for node in OmegaConf.load(conf / "default.yaml").values()]  # pyright: ignore
    assert [{**vars(callback), "rows": None} for callback in built] == [
        {**vars(callback), "rows": None} for callback in (Monitor(), OnlineKNN(), OnlineProbe())
    ]
    assert not OmegaConf.load(conf / "none.yaml")
