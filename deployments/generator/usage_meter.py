"""Counts GPU seconds per owner. Other threads write the counts, so that a render never waits for the store."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from models.errors import StoreUnavailable
from storage.sql.usage import UsageQueries

FLUSH_THRESHOLD_S = 0.25
"""Unwritten GPU seconds that trigger a write with the next report. A killed process loses at most this and one step."""

logger = logging.getLogger("ray.serve")


class UsageMeter:
    """The meter of one Generator, which runs one task at a time. Counts that could not be written are kept."""

    def __init__(self, tasks: UsageQueries, clock: Callable[[], float] = time.monotonic) -> None:
        self._tasks = tasks
        self._clock = clock
        self._lock = threading.Lock()
        self._unwritten: dict[str, tuple[float, int]] = {}
        self._owner: str | None = None
        self._counted_at = 0.0

    @contextmanager
    def measure(self, owner: str) -> Iterator[None]:
        """Count the time inside this context as one run of `owner`, however it ends. It can be written meanwhile."""
        with self._lock:
            self._owner, self._counted_at = owner, self._clock()
            self._count(owner, 0.0, 1)
        try:
            yield
        finally:
            with self._lock:
                self._count_current_run()
                self._owner = None

    def flush_if_large(self) -> None:
        """Write the counts if they exceed FLUSH_THRESHOLD_S."""
        with self._lock:
            self._count_current_run()
            worth_it = sum(seconds for seconds, _ in self._unwritten.values()) >= FLUSH_THRESHOLD_S
        if worth_it:
            self.flush()

    def flush(self) -> None:
        """Write all unwritten counts. Never raises StoreUnavailable."""
        with self._lock:
            self._count_current_run()
            waiting, self._unwritten = self._unwritten, {}
        for owner, (seconds, runs) in waiting.items():
            try:
                self._tasks.add_usage(owner, seconds, runs)
            except StoreUnavailable as error:
                logger.warning("%.1f GPU seconds are written later: %s", seconds, error.message)
                with self._lock:
                    self._count(owner, seconds, runs)

    def _count_current_run(self) -> None:
        """Count the time of the current run since the last count."""
        if self._owner is not None:
            now = self._clock()
            self._count(self._owner, now - self._counted_at, 0)
            self._counted_at = now

    def _count(self, owner: str, seconds: float, runs: int) -> None:
        known_s, known_runs = self._unwritten.get(owner, (0.0, 0))
        self._unwritten[owner] = (known_s + seconds, known_runs + runs)
