"""Fake workers that replace Serve's handles. They write to the row like the real ones, and sleep instead of working."""

import asyncio
import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ray.exceptions import ActorDiedError

from deployments.dispatcher.deployment import Dispatcher
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.settings import Settings
from models.errors import StorageFull, StoreUnavailable, TaskCanceled
from models.progress import Progress, Stage
from models.request.request import VideoRequest
from storage.outputs.store import OutputStore, output_key, poster_key
from storage.task_store import SqlTaskStore
from storage.tasks import NewTask, Output, State, Task

MODEL = "sleeping"
PATIENCE_S = 30.0


class Remote:
    """A method with the interface of a Serve handle's method."""

    def __init__(self, method: Any) -> None:
        self._method = method
        self.calls: list[tuple[Any, ...]] = []
        """The arguments of each call, in the order of the calls."""

    def remote(self, *args: Any) -> "asyncio.Task[Any]":
        self.calls.append(args)
        running: asyncio.Task[Any] = asyncio.ensure_future(self._method(*args))
        running.add_done_callback(_retrieve_error)
        return running


def _retrieve_error(ended: "asyncio.Task[Any]") -> None:
    """As in Ray, an error for which nobody waits any more is lost. Unretrieved, it would fail the test."""
    if not ended.cancelled():
        ended.exception()


class Workers:
    """A fake Generator and Encoder. `generator` and `encoder` are passed to a Dispatcher."""

    def __init__(self, tasks: SqlTaskStore, outputs: OutputStore, render_s: float) -> None:
        self._tasks, self._outputs, self.render_s = tasks, outputs, render_s
        self.rendered: list[str] = []
        self.parents: set[str] = set()
        """The parent span ids of the tasks."""
        self.deadly: set[str] = set()
        """Tasks on which the Generator always dies."""
        self.store_is_full = False
        self.at_once = self.most_at_once = 0
        self._woken = asyncio.Event()
        self.generator = SimpleNamespace(generate=Remote(self._generate))
        self.encoder = SimpleNamespace(encode=Remote(self._encode))

    def wake(self) -> None:
        """End the current renders, and let later ones end at once."""
        self._woken.set()

    async def _generate(self, task: Task) -> str:
        if not await self._when_back(self._tasks.start_run, task):
            raise TaskCanceled("not ours")
        self.rendered.append(task.id)
        if task.context.traceparent is not None:
            self.parents.add(task.context.traceparent.split("-")[2])
        if task.id in self.deadly:
            raise ActorDiedError
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), self.render_s)
        self.at_once -= 1
        if not await self._when_back(self._tasks.report_progress, task, Progress(Stage.ENCODING)):
            raise TaskCanceled("not ours")
        return task.id

    async def _when_back(self, operation: Any, *args: Any) -> Any:
        """Retry while the database is unavailable, as the real Generator does."""
        while True:
            try:
                return await asyncio.to_thread(operation, *args)
            except StoreUnavailable:
                await asyncio.sleep(0.05)

    async def _encode(self, clip: "asyncio.Task[str]", task: Task) -> None:
        await clip
        if self.store_is_full:
            raise StorageFull("the output store is full: no space left on its disk")
        video, poster = output_key(task.id), poster_key(task.id)
        self._outputs.put(poster, b"jpeg")
        self._outputs.put(video, b"mp4")
        if not await asyncio.to_thread(self._tasks.complete, task, Output(video, poster, 1.0, 3)):
            raise TaskCanceled("not ours")


class PlainDispatcher(Dispatcher):
    """The Dispatcher without Ray. `serve_says_running` replaces the query to Serve; a coroutine produces the clip."""

    serve_says_running = True

    def __del__(self) -> None:
        """Do nothing. Python calls it at garbage collection; tests call `end` instead, as Serve does."""

    async def end(self) -> None:
        await Dispatcher.__del__(self)

    def _is_app_running(self) -> bool:
        return self.serve_says_running

    async def _wait_for_clip(self, response: "asyncio.Task[str]", task: Task) -> "asyncio.Task[str]":
        await asyncio.wait([response])
        self._release_slot(task)
        return response


def dispatcher(
    settings: Settings, workers: Workers, app: int, *, ready: bool = True, metrics: MetricsRecorder = NOOP_METRICS
) -> PlainDispatcher:
    kind = type("Named", (PlainDispatcher,), {"serve_says_running": ready})
    made: PlainDispatcher = kind(
        settings, MODEL, workers.generator, workers.encoder, server="test", app=app, metrics=metrics
    )
    return made


def submit(store: SqlTaskStore, count: int) -> list[str]:
    return [store.submit(NewTask(VideoRequest(prompt="x"), MODEL, "http://box")).id for _ in range(count)]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  # the database sends no notification
            await asyncio.sleep(0.02)


async def all_end(store: SqlTaskStore, ids: list[str]) -> None:
    await until(lambda: all(task.is_finished for task in store.get_many(ids)))
    assert {task.state for task in store.get_many(ids)} == {State.COMPLETED}


async def end(*dispatchers: PlainDispatcher) -> None:
    for each in dispatchers:
        await each.end()


async def kill(victim: PlainDispatcher) -> None:
    """Stop it like a lost node: nothing is released."""
    for work in (victim._loop, victim._app_watch, *(work for _, work in victim._running.values())):
        work.cancel()
    victim._running.clear()
    await asyncio.wait([victim._loop, victim._app_watch])
    victim._tasks.close()
