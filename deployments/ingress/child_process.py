"""Runs a module of this server in a child process, with limits.

The process has none of the server's environment variables, so no secret. Its memory is free when it ends, and a crash
costs only the request that it works for. It ends with the server, also when the server is killed.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from models.errors import ReaderLost

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
PARENT = "PARENT_PID"
"""The environment variable with the id of the process that started this one."""
CPU_NICENESS = 5
PR_SET_PDEATHSIG = 1


def run_child(
    module: str,
    arguments: Sequence[str],
    timeout_s: float,
    variables: Mapping[str, str],
    *,
    kind: str,
    size_bytes: int,
    stdin: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """Run a module that reads a file of `kind` until it ends, with these environment variables.

    Raises subprocess.TimeoutExpired. A SIGKILL is not the file's fault: the process's own limits end it by other
    signals. Raises ReaderLost for it.
    """
    done = subprocess.run(  # noqa: S603  # no shell, and the server chooses every argument
        [sys.executable, "-m", module, *arguments],
        input=stdin,
        capture_output=True,
        env={**ENVIRONMENT, PARENT: str(os.getpid()), **variables},
        timeout=timeout_s,
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        raise reader_lost(kind, size_bytes)
    return done


def reader_lost(kind: str, size_bytes: int) -> ReaderLost:
    """The error for a process that was killed while it read a file of `kind` ("image", "audio", "video")."""
    return ReaderLost(f"the process that read the {kind} of {size_bytes} bytes was killed; send the request again")


def limit_process(time_s: int, memory_bytes: int | None = None) -> None:
    """Limit this process: its CPU seconds to twice its time, its memory, and no core file. Also lower its priority.

    It ends with the process that started it. Too much CPU time ends it with SIGXCPU, so SIGKILL comes from elsewhere.
    """
    _end_with_parent()
    bounds = [(resource.RLIMIT_CORE, 0)]
    if memory_bytes is not None:
        bounds.append((resource.RLIMIT_AS, memory_bytes))
    for kind, bound in bounds:
        resource.setrlimit(kind, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CPU, (2 * time_s, 2 * time_s + 1))
    os.nice(CPU_NICENESS)


def _end_with_parent() -> None:
    """Have this process killed when its parent ends, on Linux. Ends it at once if the parent has ended already."""
    if sys.platform != "linux" or PARENT not in os.environ:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ[PARENT]):
        os._exit(1)
