"""Speed of requests: submit and poll, on the server compared with the same handlers on bare uvicorn.

    python -m benchmarks.requests [--rounds 5] [--tasks 10000] [--requests 500]

Each has its own SQLite table with `tasks` completed rows at the start, and the same app
(`deployments.ingress.app.create_app`). `server` is the whole stack: HAProxy, Ray Serve's replica, the notification of
the Dispatcher. `bare` is uvicorn, with a notification that does nothing.

Each handles `requests` requests per round, alternately, from one client and from 50 at once on persistent connections.
The client is a separate process. A poll reads one of the completed tasks.

No task is rendered: the server's Generator requests more CPUs than the machine has, so it never starts. Submitted tasks
stay in the queue.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.seed_rows import fill, task_id
from benchmarks.servers import IDLE, SPAWN, running_bare
from storage.tasks import State
from tests.e2e.server import QUICK, running_server

CLIENTS = (1, 50)
AIM = 2.0


def drive(port: int, operation: str, clients: int, number: int, number_of_tasks: int) -> list[float]:
    """Send `number` requests on `clients` connections. Returns the seconds of each. Runs in the client process."""
    return asyncio.run(_drive(port, operation, clients, number, number_of_tasks))


async def _drive(port: int, operation: str, clients: int, number: int, number_of_tasks: int) -> list[float]:
    left = iter(range(number))
    ids = (task_id(1 + 7919 * each % number_of_tasks) for each in itertools.count())
    seconds: list[float] = []
    fields = json.dumps(QUICK).encode()

    def content() -> bytes:
        if operation == "health":
            return b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        if operation == "poll":
            return b"GET /v1/video/tasks/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % next(ids).encode()
        headers = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d" % len(fields)
        return b"POST /v1/video/async_t2v HTTP/1.1\r\n%s\r\n\r\n%s" % (headers, fields)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            start = time.perf_counter()
            writer.write(content())
            await read_answer(reader)
            seconds.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Read one response completely. Raises RuntimeError if its status is not 200."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    if b" 200 " not in head.splitlines()[0]:
        raise RuntimeError(f"{head.decode()}{body.decode()}")


def percentile(seconds: list[float], percent: int) -> float:
    """The time within which `percent` % of the requests were answered."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


def measure(ports: dict[str, int], asked: argparse.Namespace) -> None:
    """Measure the two alternately and print the table. The first round is a warm-up."""
    print(f"{'what':<7} {'clients':>7}  {'':<6} {'p50 ms':>8} {'p99 ms':>8} {'requests/s':>11}")
    with ProcessPoolExecutor(1, mp_context=SPAWN) as client:
        for operation, clients in itertools.product(("submit", "poll"), CLIENTS):
            found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
            for turn in range(asked.rounds + 1):
                for name, port in ports.items():
                    start = time.perf_counter()
                    seconds = client.submit(drive, port, operation, clients, asked.requests, asked.tasks).result()
                    rate = asked.requests / (time.perf_counter() - start)
                    if turn:
                        found[name].append((percentile(seconds, 50), percentile(seconds, 99), rate))
            show(operation, clients, found)


def show(operation: str, clients: int, found: dict[str, list[tuple[float, float, float]]]) -> None:
    """Print the medians over the rounds, and the ratio."""
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    for name, (p50, p99, rate) in medians.items():
        print(f"{operation:<7} {clients:>7}  {name:<6} {p50 * 1000:8.2f} {p99 * 1000:8.2f} {rate:11.0f}")
    p50, p99, rate = (server / bare for server, bare in zip(medians["server"], medians["bare"], strict=True))
    print(f"{'':<7} {'':>7}  {'ratio':<6} {p50:8.2f} {p99:8.2f} {rate:11.2f}", flush=True)


def main() -> None:
    """Start both, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"rounds": 5, "tasks": 10_000, "requests": 500}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        homes = {name: Path(folder) / name for name in ("server", "bare")}
        for home in homes.values():
            home.mkdir()
            fill(f"sqlite:///{home}/ltx2.db", {State.COMPLETED: asked.tasks})
        args = {
            **IDLE,
            "database_url": f"sqlite:///{homes['server']}/ltx2.db",
            "outputs": {"url": f"file:{homes['server']}"},
        }
        with running_server(homes["server"], args) as server, running_bare(homes["bare"]) as port:
            print(
                f"{asked.tasks} tasks in the table, {asked.requests} requests a round, {asked.rounds} rounds, "
                f"{os.cpu_count()} cores; aim: a ratio of at most {AIM:g}"
            )
            measure({"server": server.port, "bare": port}, asked)


if __name__ == "__main__":
    main()
