"""The GPU's benches run dry on a CPU, and none hides or stops another."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
RESULTS = {  # how the last line of a result begins, by part
    "views": "    32     32   0.5   bicubic",
    "step": "resnet_tiny  views=none",
    "compiled": "resnet_tiny  views=none",
    "loss": "  infonce",
    "syncs": "synchronisations skipped: no GPU",
    "faiss": "FAISS on the GPU: skipped: no GPU",
    "simclr": "trained in",
    "muon": "trained in",
    "nccl": "step 1/1",
}


def dry(*parts: str, python: Path = Path(sys.executable).parent) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "PATH": f"{python}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "bench/gpu.sh", "--dry", *parts], cwd=ROOT, env=known, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="some parts are only skipped without a GPU")
def test_every_part_prints_its_result() -> None:
    done = dry()
    assert done.returncode == 0, done.stdout
    for name in RESULTS:
        printed = done.stdout.split(f"== {name}: ")
        assert len(printed) == 3, done.stdout  # what is run, with its output, and how it ended
        assert any(line.startswith(RESULTS[name]) for line in printed[1].splitlines()), printed[1]
        assert printed[2].startswith("done in")
    assert re.fullmatch(rf"== {len(RESULTS)} parts in \d+ s, 0 failed", done.stdout.splitlines()[-1])


def test_a_part_that_fails_stops_no_other_and_is_named(tmp_path: Path) -> None:
    """By an interpreter that fails where it is asked for views."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *bench.views*) exit 3; esac\n')
    python.chmod(0o755)
    done = dry(python=tmp_path)
    assert done.returncode == 1
    assert "== views: FAILED with status 3" in done.stdout
    assert "== nccl: done" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(" 1 failed: views")
    assert dry("nccl", python=tmp_path).returncode == 0
    assert dry("nothing", "nccl", python=tmp_path).returncode == 2
