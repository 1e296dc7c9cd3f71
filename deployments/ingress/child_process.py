"""Runs a module of this server in a child process, with limits.

The process has none of the server's environment variables, so no secret. Its memory is free when it ends, and a crash
costs only the request that it works for.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
CPU_NICENESS = 5


def run_child(
    module: str, arguments: Sequence[str], timeout_s: float, variables: Mapping[str, str], stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a module until it ends, with these environment variables. Raises subprocess.TimeoutExpired."""
    return subprocess.run(  # noqa: S603  # no shell, and the server chooses every argument
        [sys.executable, "-m", module, *arguments],
        input=stdin,
        capture_output=True,
        env={**ENVIRONMENT, **variables},
        timeout=timeout_s,
        check=False,
    )


def limit_process(time_s: int, memory_bytes: int | None = None) -> None:
    """Limit this process: its CPU seconds to twice its time, its memory, and no core file. Also lower its priority."""
    bounds = [(resource.RLIMIT_CPU, 2 * time_s), (resource.RLIMIT_CORE, 0)]
    if memory_bytes is not None:
        bounds.append((resource.RLIMIT_AS, memory_bytes))
    for kind, bound in bounds:
        resource.setrlimit(kind, (bound, bound))
    os.nice(CPU_NICENESS)
