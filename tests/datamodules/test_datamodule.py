from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from sslab.datamodules.datamodule import DataModule
from sslab.datamodules.loading.order import ClassBalanced
from sslab.datamodules.reading.images import Stack
from sslab.ssl.core.errors import UserError
from sslab.ssl.core.step import Batch
from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning 2.6 with torch 2.15
SIZE = 50


class Tiny(NamedTuple):
    """A source of images whose pixels are their row."""

    train: Stack
    test: Stack | None = None

    @classmethod
    def of(cls, size: int = SIZE, labelled: int = SIZE) -> "Tiny":
        row = torch.arange(size)
        stack = row.to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4).contiguous()
        return cls(Stack.of(stack, torch.where(row < labelled, row % 2, -1), ("even", "odd")))


class Recorder(pl.LightningModule):
    """Notes the rows and keys that it is trained on; saves them with its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[list[int], list[int]]] = []

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        assert batch.images[:, 0, 0, 0].equal(batch.row.to(torch.uint8))
        self.seen.append((batch.row.tolist(), batch.key.tolist()))
        return self.weight

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seen"] = list(self.seen)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seen = checkpoint["seen"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Checkpoints(pl.Callback):
    """Saves after each optimiser step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            trainer.save_checkpoint(self.folder / f"step{trainer.global_step}.ckpt")


def train(folder: Path, steps: int, start: Path | None = None, **settings: Any) -> Recorder:
    """Train up to `steps` optimiser steps with a checkpoint after each."""
    accumulate = settings.get("accumulate", 1)
    data = DataModule(Tiny.of(), batch_size=8, **settings)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        callbacks=[Checkpoints(folder)],
    )
    module = Recorder()
    trainer.fit(module, data, ckpt_path=start, weights_only=True if start else None)
    return module


@pytest.mark.parametrize(
    "settings", [{}, {"accumulate": 2}, {"order": ClassBalanced(2, 4)}, {"resident": False, "workers": 0}], ids=str
)
def test_resumed_at_any_step_it_sees_what_the_unbroken_run_saw(tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = train(tmp_path, 14, **settings).seen
    assert len(whole) == 14 * settings.get("accumulate", 1)
    for step in range(1, 14):
        resumed = train(tmp_path / "resumed", 14, tmp_path / f"step{step}.ckpt", **settings)
        assert resumed.seen == whole, f"stopped after step {step}"


def test_resumed_with_workers(tmp_path: Path) -> None:
    settings = {"resident": False, "workers": 2}
    whole = train(tmp_path, 14, workers=0).seen
    for step in (2, 6, 9):
        train(tmp_path, step, **settings)
        assert train(tmp_path, 14, tmp_path / f"step{step}.ckpt", **settings).seen == whole


def test_the_place_is_the_number_of_batches_trained_on(tmp_path: Path) -> None:
    train(tmp_path, 4, accumulate=2)
    checkpoint = torch.load(tmp_path / "step3.ckpt", weights_only=True)
    assert checkpoint["DataModule"] == {"batches": 6}
    data = DataModule(Tiny.of(), batch_size=8)
    assert data.state_dict() == {"batches": 0}
    data.load_state_dict({"batches": 7})
    assert data.state_dict() == {"batches": 7}
    assert data.train_dataloader().sampler.epoch == 1


@pytest.mark.parametrize(("holdout", "count"), [(0, 0), (7, 7), (0.1, 3), (0.0, 0)])
def test_held_out_rows_have_labels_and_are_never_trained_on(holdout: float, count: int) -> None:
    data = DataModule(Tiny.of(size=50, labelled=30), batch_size=4, holdout=holdout)
    assert len(data.held_out) == count
    assert (data.held_out < 30).all()
    seen = [row for batch in data.train_dataloader() for row in batch.row.tolist()]
    assert len(seen) == (50 - count) // 4 * 4
    assert not set(seen) & set(data.held_out.tolist())


def test_the_held_out_rows_are_the_seeds() -> None:
    chosen = {seed: DataModule(Tiny.of(), 8, seed, holdout=10).held_out.tolist() for seed in (0, 1)}
    assert chosen[0] == DataModule(Tiny.of(), 8, 0, holdout=10).held_out.tolist() != chosen[1]


@pytest.mark.parametrize("holdout", [-1, 51, 1.5])
def test_an_impossible_holdout_is_refused(holdout: float) -> None:
    with pytest.raises(UserError, match=f"data.holdout={holdout} of 50 images"):
        DataModule(Tiny.of(), batch_size=8, holdout=holdout)


def test_too_few_images_are_refused_before_any_is_read() -> None:
    with pytest.raises(UserError, match="40 training images do not fill a batch of 48: set data.batch_size to 40 or"):
        DataModule(Tiny.of(), batch_size=48, holdout=10)
    with pytest.raises(UserError, match="50 training images do not fill 4 batches of 16"):
        DataModule(Tiny.of(), batch_size=16, accumulate=4)
    assert DataModule(Tiny.of(), batch_size=8, accumulate=4).batches_per_epoch == 4
