"""Ends what a test run has started when the run is gone, however it went: one that is killed cleans up nothing itself.

As a plugin of pytest it marks the environment, which every process below inherits, and starts a process beside the run.
That one waits for the end of its standard input, which comes when the run has ended or was killed.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

MARK = "TEST_RUN"
"""The variable that says which run a process belongs to."""
PATIENCE_S = 60.0
HOLDER = pytest.StashKey["subprocess.Popen[bytes]"]()


def pytest_configure(config: pytest.Config) -> None:
    """Mark what is started from now on, and let it be watched."""
    command = [sys.executable, __file__, run := uuid.uuid4().hex]
    plain = {name: value for name, value in os.environ.items() if name != MARK}
    os.environ[MARK] = run
    config.stash[HOLDER] = subprocess.Popen(
        command, stdin=subprocess.PIPE, env=plain, cwd=Path(__file__).parent, start_new_session=True
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go: what is still there ends too."""
    holder = config.stash[HOLDER]
    holder.communicate()
    os.environ.pop(MARK, None)


def left(run: str) -> Iterator[psutil.Process]:
    """The processes of a run that live."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == run:
                yield process


def end(run: str) -> None:
    """Kill them, and those that they start meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := list(left(run))) and time.monotonic() < deadline:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.1)


if __name__ == "__main__":
    sys.stdin.read()
    end(sys.argv[1])
