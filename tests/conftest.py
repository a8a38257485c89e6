import os
import sys
from pathlib import Path

import pytest
import torch
from cli import SMALL, Cli
from hydra.core.global_hydra import GlobalHydra
from hypothesis import settings

# The same examples every time, so that a failure is of the change at hand; HYPOTHESIS_PROFILE=default draws new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Small tensors gain nothing from threads, and lose much where several processes share the cores.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


def shorten_probes(patch: pytest.MonkeyPatch) -> None:
    """Linear probes of a few steps: where programs are tested, not what they measure."""
    from sslab.eval.protocols import linear

    patch.setattr(linear, "RECIPE", linear.RECIPE._replace(epochs=1, least_steps=40))


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    shorten_probes(monkeypatch)
    return Cli(tmp_path, capsys, monkeypatch)


@pytest.fixture
def generate(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(tmp_path, capsys, monkeypatch, "sslab.datamodules.generate.__main__")


@pytest.fixture
def evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    shorten_probes(monkeypatch)
    return Cli(tmp_path, capsys, monkeypatch, "sslab.eval.__main__")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a few steps."""
    from sslab.ssl.commands.train import main

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        shorten_probes(patch)
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["train.py", *SMALL, "trainer.max_steps=4", "trainer.precision=32-true"])
        GlobalHydra.instance().clear()
        main()
    return next(folder.glob("runs/*/*"))


@pytest.fixture(scope="session")
def ddpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipelines import save_ddpm  # diffusers comes with it

    folder = tmp_path_factory.mktemp("ddpm")
    save_ddpm(folder)
    return folder


@pytest.fixture(scope="session")
def unclip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipelines import save_unclip

    folder = tmp_path_factory.mktemp("unclip")
    save_unclip(folder, tmp_path_factory.mktemp("words"))
    return folder
