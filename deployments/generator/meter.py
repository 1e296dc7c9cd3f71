"""Counts how long a Generator rendered for each owner. Another thread writes it down: no render waits for the store."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import StoreUnavailable
from storage.task_store import TaskStore

logger = logging.getLogger("ray.serve")


class Meter:
    """Of one Generator. What could not be written is kept, and lost only with the process."""

    def __init__(self, tasks: TaskStore) -> None:
        self._tasks = tasks
        self._lock = threading.Lock()
        self._unwritten: dict[str, tuple[float, int]] = {}

    @contextmanager
    def running(self, owner: str) -> Iterator[None]:
        """Count what is done within as a run for `owner`, however it ends. It is written with the next `write`."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._count(owner, time.monotonic() - started, 1)

    def write(self) -> None:
        """Write down what is not yet. Never raises for a store that is away."""
        with self._lock:
            waiting, self._unwritten = self._unwritten, {}
        for owner, (seconds, runs) in waiting.items():
            try:
                self._tasks.add_usage(owner, seconds, runs)
            except StoreUnavailable as error:
                logger.warning("%.1f GPU seconds are written down later: %s", seconds, error.message)
                self._count(owner, seconds, runs)

    def _count(self, owner: str, seconds: float, runs: int) -> None:
        with self._lock:
            known_s, known_runs = self._unwritten.get(owner, (0.0, 0))
            self._unwritten[owner] = (known_s + seconds, known_runs + runs)
