"""One watcher per replica for all requests that wait for tasks. It sends one query to the store at a time."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

from deployments.ingress.errors import NotFound
from models.errors import StoreUnavailable
from storage.task_store import TaskStore
from storage.tasks import Task

WATCH_INTERVAL_S = 0.2

TaskUpdates = asyncio.Queue[Task | None]
"""Holds the latest state of a task that the reader has not taken yet; None if the row is gone."""


class TaskWatcher:
    """Lets many requests follow their tasks without a thread or a query for each request."""

    def __init__(self, tasks: TaskStore) -> None:
        self._tasks = tasks
        self._readers: dict[str, list[TaskUpdates]] = defaultdict(list)
        self._watcher: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def subscribe(self, task_id: str) -> Iterator[TaskUpdates]:
        """Receive the state of a task repeatedly until the context ends, except while the store is unavailable."""
        updates: TaskUpdates = asyncio.Queue(maxsize=1)
        self._readers[task_id].append(updates)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._run())
        try:
            yield updates
        finally:
            self._readers[task_id].remove(updates)
            if not self._readers[task_id]:
                del self._readers[task_id]

    async def wait(self, task_id: str) -> Task:
        """Return the task once it has ended. Raises NotFound if its row is gone."""
        with self.subscribe(task_id) as updates:
            while (task := await updates.get()) is not None:
                if task.is_finished:
                    return task
        raise NotFound(f"there is no task {task_id[:64]!r}")

    async def _run(self) -> None:
        while self._readers:
            started = time.monotonic()
            asked = list(self._readers)
            with contextlib.suppress(StoreUnavailable):
                found = {task.id: task for task in await asyncio.to_thread(self._tasks.get_many, asked)}
                self._publish(asked, found)
            await asyncio.sleep(max(WATCH_INTERVAL_S, time.monotonic() - started))

    def _publish(self, asked: list[str], found: dict[str, Task]) -> None:
        for task_id in asked:
            for updates in self._readers.get(task_id, []):
                if updates.full():
                    updates.get_nowait()
                updates.put_nowait(found.get(task_id))
