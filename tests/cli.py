"""Runs `python train.py …` inside the test process, where imports are already paid for."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[1]
SMALL = ("trainer=cpu", "data.source.train=600", "data.source.test=200", "data.batch_size=32", "trainer.log_every=1")


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Cli:
    """Called with the arguments of train.py, or of another program; runs land in `folder`."""

    def __init__(
        self,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        program: str = "sslab.ssl.commands.train",
    ) -> None:
        self.folder, self.capsys, self.monkeypatch, self.program = folder, capsys, monkeypatch, program
        monkeypatch.chdir(folder)

    def __call__(self, *arguments: str) -> Result:
        main = importlib.import_module(self.program).main
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        GlobalHydra.instance().clear()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        out, err = self.capsys.readouterr()
        return Result(code, out, err)

    def process(self, *arguments: str) -> Result:
        """The same in a process of its own: what starts further ranks must be train.py itself."""
        command = [sys.executable, str(ROOT / "train.py"), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        return Result(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments: str) -> Path:
        """A run that must succeed; its folder."""
        before = set(self.runs())
        result = (self.process if "trainer=ddp_cpu" in arguments else self)(*arguments)
        assert result.code == 0, result.err
        new = set(self.runs()) - before
        assert len(new) == 1, new
        return new.pop().parent

    def runs(self) -> list[Path]:
        return sorted(self.folder.glob("runs/*/*/config.yaml"))

    def refuse(self, *arguments: str) -> str:
        """The one line with which the arguments are refused, before anything is written."""
        before = sorted(self.folder.rglob("*"))
        result = self(*arguments)
        assert result.code == 2, (result.code, result.out, result.err)
        assert "Traceback" not in result.err
        assert sorted(self.folder.rglob("*")) == before
        lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, result.err
        return lines[0]
