"""How fast requests are answered: submit and poll, through the server beside the same handlers on bare uvicorn.

    python -m benchmarks.requests [--rounds 5] [--tasks 10000] [--requests 500]

Both have a SQLite table of their own with `tasks` completed rows before they start, and the same app
(`deployments.ingress.app.create_app`). `server` is the whole of it: HAProxy, Ray Serve's replica, the nudge of the
Dispatcher. `bare` is uvicorn and a nudge that does nothing. Each answers `requests` requests a round, in turns, to
one client and to 50 at once on connections that stay open; the client is a process of its own. A poll reads one of
the completed tasks.

Nothing renders meanwhile: the server's Generator asks for more CPUs than there are, so it never starts, and what is
submitted stays in the queue.
"""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from sqlalchemy import insert

from models.names import TINY_MODEL_NAME
from models.request import Limits, parse_request
from storage.database import migrate, open_engine
from storage.outputs import output_key, poster_key
from storage.schema import tasks
from storage.tasks import State
from tests.e2e.server import QUICK, START_TIMEOUT_S, running_server
from tests.ports import free_port

CLIENTS = (1, 50)
MORE_CPUS_THAN_THERE_ARE = 100_000
NO_BOUND = {"max_queued": 1_000_000}
"""Nothing renders, so all that is submitted waits."""
AIM = 2.0

SPAWN = multiprocessing.get_context("spawn")


def task_id(number: int) -> str:
    """The id of a task that is in the table from the start."""
    return f"{number:032x}"


def fill(url: str, number_of_tasks: int) -> None:
    """Make the database at `url`, with tasks that are completed."""
    request = parse_request({**QUICK, "seed": 7}, Limits()).model_dump_json()
    now = time.time()
    row = {
        "state": State.COMPLETED,
        "model": TINY_MODEL_NAME,
        "request": request,
        "base_url": "http://127.0.0.1",
        "claim": 1,
        "attempts": 0,
        "restarts": 0,
        "step": 3,
        "progress": 1.0,
        "given": "[]",
        "bytes_done": 0,
        "bytes_total": 0,
        "created_at": now - 3,
        "started_at": now - 2,
        "finished_at": now,  # lately: what is old is removed
        "duration_s": 0.7,
        "size_bytes": 100_000,
    }
    ids = [task_id(number) for number in range(number_of_tasks)]
    rows = [{**row, "id": each, "output_key": output_key(each), "poster_key": poster_key(each)} for each in ids]
    engine = open_engine(url)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(insert(tasks), rows)
    engine.dispose()


def serve_bare(folder: Path, port: int) -> None:
    """The handlers alone, in a process of their own."""
    import uvicorn

    from deployments.ingress.app import create_app
    from deployments.ingress.rooms import Rooms
    from deployments.settings import Settings
    from storage.outputs import open_output_store
    from storage.task_store import SqlTaskStore

    async def nudge() -> None:
        """There is no Dispatcher."""

    settings = Settings.model_validate({"ingress": NO_BOUND})
    store = SqlTaskStore.open(f"sqlite:///{folder}/ltx2.db")
    app = create_app(Rooms(settings, TINY_MODEL_NAME, store, open_output_store(f"file:{folder}/outputs"), nudge))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


@contextmanager
def running_bare(folder: Path) -> Iterator[int]:
    """Bare uvicorn on the database in `folder`: its port."""
    port = free_port()
    process = SPAWN.Process(target=serve_bare, args=(folder, port), daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.join()


def drive(port: int, operation: str, clients: int, number: int, number_of_tasks: int) -> list[float]:
    """Send `number` requests from `clients` connections, and take the seconds of each. Runs in the client process."""
    return asyncio.run(_drive(port, operation, clients, number, number_of_tasks))


async def _drive(port: int, operation: str, clients: int, number: int, number_of_tasks: int) -> list[float]:
    left = iter(range(number))
    ids = (task_id(7919 * each % number_of_tasks) for each in itertools.count())
    seconds: list[float] = []
    fields = json.dumps(QUICK).encode()

    def content() -> bytes:
        if operation == "poll":
            return b"GET /v1/video/tasks/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % next(ids).encode()
        headers = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d" % len(fields)
        return b"POST /v1/video/async_t2v HTTP/1.1\r\n%s\r\n\r\n%s" % (headers, fields)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            start = time.perf_counter()
            writer.write(content())
            await _read_answer(reader)
            seconds.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    if b" 200 " not in head.splitlines()[0]:
        raise RuntimeError(f"{head.decode()}{body.decode()}")


def percentile(seconds: list[float], percent: int) -> float:
    """The time that `percent` of the requests were at most."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


def measure(ports: dict[str, int], asked: argparse.Namespace) -> None:
    """Drive the two in turns and print the table. The first turn only warms up."""
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
            fill(f"sqlite:///{home}/ltx2.db", asked.tasks)
        args = {
            "model": "tiny",
            "device": "cpu",
            "generator": {"num_cpus": MORE_CPUS_THAN_THERE_ARE},
            "database_url": f"sqlite:///{homes['server']}/ltx2.db",
            "outputs": {"url": f"file:{homes['server']}"},
            "ingress": NO_BOUND,
        }
        with running_server(homes["server"], args) as server, running_bare(homes["bare"]) as port:
            print(
                f"{asked.tasks} tasks in the table, {asked.requests} requests a round, {asked.rounds} rounds, "
                f"{os.cpu_count()} cores; aim: a ratio of at most {AIM:g}"
            )
            measure({"server": server.port, "bare": port}, asked)


if __name__ == "__main__":
    main()
