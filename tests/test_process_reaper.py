"""Promise: a test run that is killed leaves no server behind."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60
RUN = """
import subprocess, sys, time
from pathlib import Path

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_that_is_killed():
    child = subprocess.Popen(SLEEP, start_new_session=True)
    Path(__file__).with_name("pid.new").write_text(str(child.pid))
    Path(__file__).with_name("pid.new").rename(Path(__file__).with_name("pid"))
    time.sleep(600)
"""


def test_what_a_killed_run_has_started_ends_with_it(tmp_path: Path) -> None:
    file, pid = tmp_path / "test_run.py", tmp_path / "pid"
    file.write_text(RUN)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.process_reaper",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
    ]
    run = subprocess.Popen([*command, file], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not pid.exists():
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child = psutil.Process(int(pid.read_text()))
    finally:
        run.kill()
        run.wait()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while lives(child):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def lives(process: psutil.Process) -> bool:
    """Whether it runs. A dead process whose parent is gone may stay in a container's process table forever."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
