import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HELD = """
import os, time
from sslab.ssl.recipes.subprocess_run import heed_leash
heed_leash()
print(os.getpid(), flush=True)
time.sleep(60)
"""
HOLDER = f"""
import os, subprocess, sys
from sslab.ssl.recipes.subprocess_run import LEASH
held = subprocess.Popen([sys.executable, "-c", {HELD!r}], stdin=subprocess.PIPE, env=os.environ | {{LEASH: "stdin"}})
held.wait()
"""


def test_a_run_apart_ends_with_the_process_that_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        held = int(holder.stdout.readline())
        holder.kill()
    for _ in range(100):
        if gone(held):
            return
        time.sleep(0.1)
    os.kill(held, signal.SIGKILL)
    pytest.fail("it goes on")


def gone(pid: int) -> bool:
    """Also where nobody has asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
