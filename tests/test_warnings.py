"""Warnings of this package fail the suite; those of libraries and of the machine do not."""

import os
import warnings
from pathlib import Path

import pytest
from cli import SMALL, Cli


def warn_from(module: str, category: type[Warning]) -> list[str]:
    """The messages that a warning raised in this module leaves under the suite's own filters."""
    with warnings.catch_warnings(record=True) as caught:
        exec("import warnings; warnings.warn('text', category)", {"__name__": module, "category": category})
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning, FutureWarning, RuntimeWarning])
@pytest.mark.parametrize("module", ["sslab.ssl.core.step", "sslab.datamodules.sources.parquet", __name__])
def test_warnings_of_this_package_are_errors(module: str, category: type[Warning]) -> None:
    with pytest.raises(category, match="text"):
        warn_from(module, category)


@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning, FutureWarning])
@pytest.mark.parametrize("module", ["torch.optim.sgd", "timm.models", "sslab_of_another"])
def test_warnings_of_libraries_are_listed(module: str, category: type[Warning]) -> None:
    assert warn_from(module, category) == ["text"]


def test_numerics_and_the_order_of_schedules_are_errors_in_libraries_too() -> None:
    with pytest.raises(RuntimeWarning):
        warn_from("scipy.optimize", RuntimeWarning)
    with pytest.raises(UserWarning, match="lr_scheduler"):
        schedule_before_step()


def schedule_before_step() -> None:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    schedule.step()


def test_a_machine_with_slurm_trains(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning warns that `srun` is there and not used."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\nexit 1\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}{os.pathsep}{os.environ['PATH']}")
    run = cli.run(*SMALL, "trainer.max_steps=1", "eval=none")
    assert (run / "backbone.safetensors").exists()
