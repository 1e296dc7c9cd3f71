"""Makes a derived file once, stores it beside the video, and lets all requests for it wait for that."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from deployments.ingress.concurrency.limits import ConcurrencyLimit
from deployments.ingress.concurrency.thread_pool import ThreadPool
from deployments.ingress.derived.child_process import write_in_child
from deployments.ingress.errors import NotFound
from deployments.observability.metrics.definitions import DERIVED_FILE_DURATION_SECONDS
from deployments.observability.metrics.recorder import MetricsRecorder
from deployments.work_folder import work_folder
from storage.outputs.store import DerivedFile, OutputStore, derived_key, output_key, poster_key
from storage.task_store import SqlTaskStore
from storage.tasks import State, Task

NO_AUDIO = "the video has no audio: its request had generate_audio false"


class DerivedFileMaker:
    """Makes one file at a time for each task. Several replicas may make the same file: it has the same content."""

    def __init__(
        self,
        tasks: SqlTaskStore,
        outputs: OutputStore,
        *,
        threads: ThreadPool,
        waiting: ConcurrencyLimit,
        check_space: Callable[[], None],
        metrics: MetricsRecorder,
    ) -> None:
        self._tasks = tasks
        self._outputs = outputs
        self._threads = threads
        self._waiting = waiting
        self._check_space = check_space
        self._metrics = metrics
        self._under_way: dict[str, tuple[DerivedFile, asyncio.Task[None]]] = {}
        """The file that is being made for each task, by the task's id."""

    async def make(self, task_id: str, kind: DerivedFile) -> None:
        """Make the file unless it exists. Goes on if the caller is canceled.

        Raises NotFound if there is no such file, FileNotFoundError if the store has lost the file that it is made from,
        EncodeFailed, ReaderLost, StorageFull, StoreUnavailable, and TooManyRequests if too many files wait to be made.
        """
        while (under_way := self._under_way.get(task_id)) is not None:
            other, making = under_way
            if other is kind:
                return await asyncio.shield(making)
            await asyncio.wait([making])
        making = asyncio.create_task(self._run(task_id, kind))
        self._under_way[task_id] = kind, making
        making.add_done_callback(lambda ended: self._forget(task_id, ended))
        return await asyncio.shield(making)

    async def _run(self, task_id: str, kind: DerivedFile) -> None:
        with self._waiting.acquire():
            await self._threads.run(self._make, task_id, kind)

    def _forget(self, task_id: str, ended: asyncio.Task[None]) -> None:
        del self._under_way[task_id]
        if not ended.cancelled():
            ended.exception()  # asyncio logs an error that nobody reads, and all callers may be gone

    def _make(self, task_id: str, kind: DerivedFile) -> None:
        key = derived_key(task_id, kind)
        if self._outputs.stat(key) is not None:
            return
        task = self._completed(task_id)
        if kind is DerivedFile.AUDIO and not task.request.generate_audio:
            raise NotFound(NO_AUDIO)
        self._check_space()
        started = time.monotonic()
        with work_folder() as folder:
            source, target = folder / "source", folder / "target"
            self._read(source_key(task_id, kind), source)
            if not write_in_child(kind, source, target):
                raise NotFound(NO_AUDIO)
            self._outputs.put(key, target)
        try:
            self._completed(task_id)
        except NotFound:
            self._outputs.delete(key)  # the task was deleted meanwhile, and keeps no file
            raise
        self._metrics.observe(DERIVED_FILE_DURATION_SECONDS, time.monotonic() - started, file=kind)

    def _completed(self, task_id: str) -> Task:
        task = self._tasks.get(task_id)
        if task is None or task.state != State.COMPLETED:
            raise NotFound("there is no such file: its task does not exist or is not completed")
        return task

    def _read(self, key: str, target: Path) -> None:
        with target.open("wb") as file:
            for chunk in self._outputs.open(key):
                file.write(chunk)


def source_key(task_id: str, kind: DerivedFile) -> str:
    """The key of the file that a derived file is made from."""
    return poster_key(task_id) if kind is DerivedFile.THUMBNAIL else output_key(task_id)
