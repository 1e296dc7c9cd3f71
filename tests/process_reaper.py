"""Ends all processes of a test run when the run has ended. A run that is killed cannot clean up itself.

As a pytest plugin it sets an environment variable, which all child processes inherit, and starts a process beside the
run. That process waits for the end of its standard input, which comes when the run has ended or was killed.
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
"""The environment variable with the id of a process's test run."""
PATIENCE_S = 60.0
HOLDER = pytest.StashKey["subprocess.Popen[bytes]"]()


def pytest_configure(config: pytest.Config) -> None:
    """Mark the processes that are started from now on, and start the watching process."""
    command = [sys.executable, __file__, run := uuid.uuid4().hex]
    plain = {name: value for name, value in os.environ.items() if name != MARK}
    os.environ[MARK] = run
    config.stash[HOLDER] = subprocess.Popen(
        command, stdin=subprocess.PIPE, env=plain, cwd=Path(__file__).parent, start_new_session=True
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the watching process's input, so that it ends the remaining processes."""
    holder = config.stash[HOLDER]
    holder.communicate()
    os.environ.pop(MARK, None)


def left(run: str) -> Iterator[psutil.Process]:
    """The live processes of a run."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == run:
                yield process


def end(run: str) -> None:
    """Kill the processes of a run, including those that they start meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := list(left(run))) and time.monotonic() < deadline:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.1)


if __name__ == "__main__":
    sys.stdin.read()
    end(sys.argv[1])
