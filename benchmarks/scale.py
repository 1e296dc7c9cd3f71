"""A long queue and many clients: the real server on PostgreSQL with 10,000 queued tasks and 500 pollers.

    python -m benchmarks.scale [--seconds 60] [--queued 10000] [--pollers 500] [--generators 4] [--interval 5]

The Generators sleep 2 s for each task (`benchmarks/scale_app.py`); the rest is the real server. Each poller polls its
own queued task every `interval` seconds. A gap is the time between two renders of one Generator. There is always a task
waiting, so a gap is overhead.
"""

import argparse
import asyncio
import itertools
import os
import random
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.memory import megabytes, show
from benchmarks.requests import percentile, read_answer
from benchmarks.scale_app import NOTES, RENDER_S
from benchmarks.seed_rows import fill, task_id
from benchmarks.servers import NO_BOUND, SPAWN
from models.names import TINY_MODEL_NAME
from storage.db.engine import open_engine
from storage.task_store import SqlTaskStore
from storage.tasks import State
from tests.e2e.server import ROOT, Server
from tests.postgres import running_postgres

AIM_GAP_MS = 50
PROBES = 20
WARM_UP_S = 8.0


def poll_all(port: int, pollers: int, first: int, interval_s: float, seconds: float) -> list[float]:
    """Run `pollers` pollers, one connection each. Returns the seconds of each poll. Runs in its own process."""
    return asyncio.run(_poll_all(port, pollers, first, interval_s, seconds))


async def _poll_all(port: int, pollers: int, first: int, interval_s: float, seconds: float) -> list[float]:
    found: list[float] = []
    end = time.monotonic() + seconds

    async def poller(number: int) -> None:
        await asyncio.sleep(random.random() * interval_s)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = b"GET /v1/video/tasks/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % task_id(first + number).encode()
        while time.monotonic() < end:
            start = time.perf_counter()
            writer.write(asked)
            await read_answer(reader)
            found.append(time.perf_counter() - start)
            await asyncio.sleep(interval_s)
        writer.close()

    await asyncio.gather(*(poller(number) for number in range(pollers)))
    return found


def claim_ms(store: SqlTaskStore) -> float:
    """The milliseconds of a claim beside the Dispatcher's own. The task is put back into the queue."""
    start = time.perf_counter()
    claimed = store.claim("benchmark", TINY_MODEL_NAME, 1, 60)
    taken_s = time.perf_counter() - start
    for task in claimed:
        store.requeue(task, attempt_lost=False)
    return taken_s * 1000


def gaps_ms(folder: Path, since: float) -> dict[str, list[float]]:
    """The gaps of each Generator after the time `since`, in ms."""
    found = {}
    for notes in folder.iterdir():
        times = [tuple(map(float, line.split())) for line in notes.read_text().splitlines()]
        pairs = itertools.pairwise(times)
        found[notes.name] = [(after[0] - before[1]) * 1000 for before, after in pairs if before[1] > since]
    return found


def database_figures(engine: Engine) -> dict[str, float]:
    """Counters of PostgreSQL: transactions so far, connections, database size."""
    with engine.connect() as connection:
        row = (
            connection.execute(
                text(
                    "SELECT xact_commit + xact_rollback AS transactions, numbackends AS connections, "
                    "pg_database_size(datname) AS size_bytes FROM pg_stat_database WHERE datname = current_database()"
                )
            )
            .mappings()
            .one()
        )
    return {name: float(value) for name, value in row.items()}


def measure(server: Server, url: str, asked: argparse.Namespace) -> None:
    """Wait until all Generators render, then run the pollers and measure."""
    notes = server.folder / NOTES
    deadline = time.monotonic() + 120
    while not notes.is_dir() or len(list(notes.iterdir())) < asked.generators:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all Generators work: {server.log()[-2000:]}")
        time.sleep(0.5)
    time.sleep(WARM_UP_S)
    engine = open_engine(url)
    store, since, before = SqlTaskStore(engine), time.monotonic(), database_figures(engine)
    first = asked.queued - asked.pollers
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        polls = pool.submit(poll_all, server.port, asked.pollers, first, asked.interval, asked.seconds)
        claims = []
        for _ in range(PROBES):
            claims.append(claim_ms(store))
            time.sleep(asked.seconds / PROBES)
        after, lasted_s = database_figures(engine), time.monotonic() - since
        seconds = polls.result()
    report(seconds, claims, gaps_ms(notes, since), lasted_s)
    rate = (after["transactions"] - before["transactions"]) / lasted_s
    print(
        f"database: {rate:.0f} transactions/s, {after['connections']:.0f} connections, "
        f"{after['size_bytes'] / 1e6:.0f} MB"
    )
    show("memory", megabytes(server.processes()))
    store.close()


def report(polls: list[float], claims: list[float], gaps: dict[str, list[float]], lasted_s: float) -> None:
    """Print the results."""
    print(
        f"polls: {len(polls) / lasted_s:.0f}/s, p50 {percentile(polls, 50) * 1000:.1f} ms, "
        f"p99 {percentile(polls, 99) * 1000:.1f} ms"
    )
    print(f"claim: median {statistics.median(claims):.1f} ms, most {max(claims):.1f} ms")
    print("gap of each Generator, median ms: " + ", ".join(f"{statistics.median(each):.0f}" for each in gaps.values()))
    every = [gap for each in gaps.values() for gap in each]
    p90 = statistics.quantiles(every, n=10)[8]
    print(f"{len(every)} gaps: median {statistics.median(every):.0f} ms, p90 {p90:.0f} ms, most {max(every):.0f} ms")
    busy = 1 - sum(every) / 1000 / (lasted_s * len(gaps))
    print(f"Generators busy {busy * 100:.1f} % of the time (aim: gaps under {AIM_GAP_MS} ms)", flush=True)


def main() -> None:
    """Fill the database, start the server, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"seconds": 60, "queued": 10_000, "pollers": 500, "generators": 4, "interval": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with running_postgres() as postgres, tempfile.TemporaryDirectory() as name:
        folder, url = Path(name), postgres.database()
        fill(url, {State.QUEUED: asked.queued})
        args = {
            "model": "tiny",
            "device": "cpu",
            "outputs": {"url": f"file:{folder}"},
            "ingress": NO_BOUND,
            "generator": {
                "min_replicas": asked.generators,
                "max_replicas": asked.generators,
                "num_cpus": 0.1,
            },
        }
        server = Server(folder, args, {"PYTHONPATH": str(ROOT), "LTX2_DATABASE_URL": url}, "benchmarks.scale_app:build")
        try:
            server.start()
            print(f"{asked}, {RENDER_S:g} s a task, {os.cpu_count()} cores")
            measure(server, url, asked)
        finally:
            server.close()


if __name__ == "__main__":
    main()
