"""Workers that take the handles' place: they write to the row as the real ones do, and sleep where those compute."""

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
    """A method as a handle shows it."""

    def __init__(self, method: Any) -> None:
        self._method = method

    def remote(self, *args: Any) -> "asyncio.Task[Any]":
        return asyncio.ensure_future(self._method(*args))


class Workers:
    """A Generator and an Encoder. `generator` and `encoder` are what a Dispatcher takes."""

    def __init__(self, tasks: SqlTaskStore, outputs: OutputStore, render_s: float) -> None:
        self._tasks, self._outputs, self.render_s = tasks, outputs, render_s
        self.rendered: list[str] = []
        self.parents: set[str] = set()
        """The spans that the tasks named as their parents."""
        self.deadly: set[str] = set()
        """Tasks under which the Generator dies, every time."""
        self.store_is_full = False
        self.at_once = self.most_at_once = 0
        self._woken = asyncio.Event()
        self.generator = SimpleNamespace(generate=Remote(self._generate))
        self.encoder = SimpleNamespace(encode=Remote(self._encode))

    def wake(self) -> None:
        """End what renders now, and renders later at once."""
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
        """No answer is not a no: a Generator goes on while the database is away."""
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
    """The Dispatcher where there is no Ray: an upgrade asks `serve_says_running`, and a clip is a coroutine's."""

    serve_says_running = True

    def __del__(self) -> None:
        """Python calls it too; `end` is what Serve does."""

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
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  # the database tells nobody
            await asyncio.sleep(0.02)


async def all_end(store: SqlTaskStore, ids: list[str]) -> None:
    await until(lambda: all(task.is_finished for task in store.get_many(ids)))
    assert {task.state for task in store.get_many(ids)} == {State.COMPLETED}


async def end(*dispatchers: PlainDispatcher) -> None:
    for each in dispatchers:
        await each.end()


async def kill(victim: PlainDispatcher) -> None:
    """As a lost node does: nothing is released."""
    for work in (victim._loop, victim._app_watch, *(work for _, work in victim._running.values())):
        work.cancel()
    victim._running.clear()
    await asyncio.wait([victim._loop, victim._app_watch])
    victim._tasks.close()
