"""Download rate of a finished video: /outputs on the server, compared with nginx and bare uvicorn on the same file.

    python -m benchmarks.download [--rounds 5] [--seconds 3] [--megabytes 20]

A client (wrk, which discards what it reads) requests the file repeatedly, on 1 connection and on 8, alternating between
the servers. `server` is the whole stack: HAProxy, Ray Serve's replica, the output store in a folder. `bare` is the same
app on uvicorn alone. `nginx` serves the file with sendfile. Needs nginx and wrk.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.seed_rows import fill, task_id
from benchmarks.servers import IDLE, running_bare, running_nginx
from storage.outputs.store import output_key
from storage.tasks import State
from tests.e2e.server import running_server

CLIENTS = (1, 8)
AIM = 0.5
TRANSFER = re.compile(r"Transfer/sec:\s+([\d.]+)([KMG])B")
FAULTS = re.compile(r"Socket errors:.*|Non-2xx.*")
MEGABYTES = {"K": 1024 / 1e6, "M": 1024**2 / 1e6, "G": 1024**3 / 1e6}


def rate(url: str, clients: int, seconds: int) -> float:
    """Megabytes per second that `clients` connections get together. Raises RuntimeError if one of them fails."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}", "--timeout", "30", url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = TRANSFER.search(said)
    if found is None or FAULTS.search(said):
        raise RuntimeError(said)
    return float(found[1]) * MEGABYTES[found[2]]


def measure(urls: dict[str, str], asked: argparse.Namespace) -> None:
    """Alternate between the servers and print the medians. The first round is a warm-up."""
    print(f"{'clients':>7} " + " ".join(f"{name + ' MB/s':>12}" for name in urls) + "  server/nginx  bare/nginx")
    for clients in CLIENTS:
        found: dict[str, list[float]] = defaultdict(list)
        for turn in range(asked.rounds + 1):
            for name, url in urls.items():
                megabytes_per_s = rate(url, clients, asked.seconds)
                if turn:
                    found[name].append(megabytes_per_s)
        medians = {name: statistics.median(values) for name, values in found.items()}
        server, bare = (medians[name] / medians["nginx"] for name in ("server", "bare"))
        columns = " ".join(f"{value:12.0f}" for value in medians.values())
        print(f"{clients:>7} {columns} {server:13.2f} {bare:11.2f}", flush=True)


def main() -> None:
    """Start the three servers, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"rounds": 5, "seconds": 3, "megabytes": 20}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx reads as another user if root starts it
        url = f"sqlite:///{folder}/ltx2.db"
        fill(url, {State.COMPLETED: 1})
        file = folder / output_key(task_id(1))
        file.parent.mkdir()
        file.write_bytes(os.urandom(asked.megabytes * 1_000_000))
        args = {**IDLE, "database_url": url, "outputs": {"url": f"file:{folder}"}}
        print(f"{asked.megabytes} MB, {asked.rounds} rounds of {asked.seconds} s, {os.cpu_count()} cores; aim: {AIM:g}")
        with (
            running_server(folder, args) as server,
            running_bare(folder) as bare,
            running_nginx(folder, folder) as nginx,
        ):
            ports = {"server": server.port, "bare": bare, "nginx": nginx}
            path = output_key(task_id(1))
            measure({each: f"http://127.0.0.1:{port}/{path}" for each, port in ports.items()}, asked)


if __name__ == "__main__":
    main()
