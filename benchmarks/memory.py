"""Memory of each process of a running server, idle and with the model loaded.

    python -m benchmarks.memory

The figure is PSS: memory shared by several processes is divided among them, so the column can be summed. The server is
all of `make run`, with the tiny model on a CPU; GPU memory is not included.
"""

import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.e2e.server import running_server

ROLES = (
    (r"ServeReplica:[^:]*:(\w+)", "{}"),
    (r"ray::(Serve\w+|HAProxyManager|ProxyActor)", "Serve: {}"),
    (r"(haproxy) -db", "{}"),
    (r"(serve) run", "{} run"),
    (r"/(gcs_server|raylet)(?: |$)", "Ray: {}"),
    (r"(dashboard|log_monitor|runtime_env)", "Ray: {}"),
    (r"ray::(\w+)", "Ray: {}"),
)
"""Pattern of a command line, and the role's name. The first match counts."""
MEGABYTE = 1e6


def role(command: str) -> str:
    """The role of a process of the server."""
    for pattern, name in ROLES:
        if found := re.search(pattern, command):
            return name.format(found[1])
    return "Ray: other"


def megabytes(processes: Iterable[psutil.Process]) -> dict[str, tuple[int, float]]:
    """Number of processes of each role and the sum of their PSS in MB, the largest first."""
    found: dict[str, list[float]] = defaultdict(list)
    for process in processes:
        with suppress(psutil.Error):
            found[role(" ".join(process.cmdline()))].append(process.memory_full_info().pss / MEGABYTE)
    rows = {name: (len(sizes), sum(sizes)) for name, sizes in found.items()}
    return dict(sorted(rows.items(), key=lambda row: -row[1][1]))


def show(title: str, rows: dict[str, tuple[int, float]]) -> None:
    """Print the table."""
    print(f"{title:<24} {'processes':>9} {'PSS MB':>8}")
    for name, (number, size) in rows.items():
        print(f"{name:<24} {number:>9} {size:8.0f}")
    print(
        f"{'all':<24} {sum(row[0] for row in rows.values()):>9} {sum(row[1] for row in rows.values()):8.0f}", flush=True
    )


def main() -> None:
    """Start a server, and measure before and after its first task."""
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder), {"model": "tiny"}) as server:
        print(f"{os.cpu_count()} cores")
        show("before the first task", megabytes(server.processes()))
        server.wait(server.submit())
        show("after it", megabytes(server.processes()))


if __name__ == "__main__":
    main()
