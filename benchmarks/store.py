"""Cost of the task store as tasks accumulate: each operation at 10 tasks and at a million, on both databases.

    python -m benchmarks.store [--rounds 5] [--calls 40] [--tasks 1000000] [--queued 10000] [--unserved 0]
                               [--databases sqlite]

`small` has 10 tasks, half of them queued. `large` has `tasks` tasks, of which `queued` are queued. Before them are
`unserved` more, queued for a model that is not served. The two alternate, call by call, and the medians are compared.

`position, last` is the queue position of the newest task, so the query counts the whole queue. The database generates
the rows itself, which takes most of the time of a run.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.seed_rows import fill, task_id
from models.names import TINY_MODEL_NAME
from models.progress import Progress, Stage
from models.request.request import RequestLimits, parse_request
from storage.task_store import SqlTaskStore
from storage.tasks import NewTask, State
from tests.e2e.server import QUICK
from tests.postgres import running_postgres

SMALL = {State.COMPLETED: 5, State.QUEUED: 5}

Operation = Callable[[SqlTaskStore], object]


def operations(tasks: int) -> dict[str, Operation]:
    """Each operation, for a store with `tasks` tasks."""
    request = parse_request({**QUICK, "seed": 7}, RequestLimits())
    last = task_id(tasks)

    def claim(store: SqlTaskStore) -> None:
        (task,) = store.claim("alice", TINY_MODEL_NAME, 1, 60)
        store.start_run(task)
        store.report_progress(task, Progress(Stage.DENOISING, 1))
        store.requeue(task, attempt_lost=False)

    def place(store: SqlTaskStore) -> int:
        task = store.get(last)
        assert task is not None
        return store.queue_position(task).position

    return {
        "poll, completed": lambda store: store.get(task_id(1)),
        "position, last": place,
        "list, newest 20": lambda store: store.page(frozenset(State) - {State.DELETED}, 21),
        "list, completed": lambda store: store.page([State.COMPLETED], 21),
        "counts for /health": lambda store: store.counts(),
        "claim to requeue": claim,
        "overdue, claimants": lambda store: (store.fail_overdue(), store.list_dispatchers()),
        "submit": lambda store: store.submit(NewTask(request, TINY_MODEL_NAME, "http://127.0.0.1"), 1_000_000_000),
    }


@contextmanager
def opened(url: str, numbers: dict[State, int], unserved: int = 0) -> Iterator[SqlTaskStore]:
    """A store with these numbers of tasks."""
    fill(url, numbers, unserved)
    store = SqlTaskStore.open(url)
    try:
        yield store
    finally:
        store.close()


def measure(name: str, small: SqlTaskStore, large: SqlTaskStore, asked: argparse.Namespace) -> None:
    """Alternate between the stores and print the medians. The first round is a warm-up."""
    sized = {"small": (small, operations(sum(SMALL.values()))), "large": (large, operations(asked.tasks))}
    for what in operations(0):
        found: dict[str, list[float]] = defaultdict(list)
        for turn in range(asked.rounds + 1):
            for _ in range(asked.calls):
                for size, (store, ways) in sized.items():
                    start = time.perf_counter()
                    ways[what](store)
                    if turn:
                        found[size].append(time.perf_counter() - start)
        small_ms, large_ms = (statistics.median(found[size]) * 1000 for size in sized)
        print(f"{name:<11} {what:<20} {small_ms:9.2f} {large_ms:9.2f} {large_ms / small_ms:6.2f}", flush=True)


def main() -> None:
    """Fill the databases, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"rounds": 5, "calls": 40, "tasks": 1_000_000, "queued": 10_000, "unserved": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    asked = parser.parse_args()
    large = {State.COMPLETED: asked.tasks - asked.queued, State.QUEUED: asked.queued}
    print(f"{sum(SMALL.values())} tasks and {asked.tasks}, {asked.queued} of them queued; {os.cpu_count()} cores")
    print(f"{'database':<11} {'operation':<20} {'small ms':>9} {'large ms':>9} {'ratio':>6}")
    if "sqlite" in asked.databases:
        with tempfile.TemporaryDirectory() as folder:
            urls = [f"sqlite:///{Path(folder) / name}.db" for name in ("small", "large")]
            with opened(urls[0], SMALL) as few, opened(urls[1], large, asked.unserved) as many:
                measure("SQLite", few, many, asked)
    if "postgresql" in asked.databases:
        with (
            running_postgres() as server,
            opened(server.database(), SMALL) as few,
            opened(server.database(), large, asked.unserved) as many,
        ):
            measure("PostgreSQL", few, many, asked)


if __name__ == "__main__":
    main()
