"""Reading tasks: the poll, and the wait of the synchronous routes."""

import asyncio
import time
from collections import defaultdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deployments.ingress.errors import NotFound
from deployments.ingress.rooms import Rooms
from deployments.ingress.schemas import ErrorBody, TaskBody, task_body
from models.errors import StoreUnavailable
from storage.task_store import TaskStore
from storage.tasks import State, Task

WATCH_INTERVAL_S = 0.2


def tasks_router(rooms: Rooms) -> APIRouter:
    """The routes about tasks that exist."""
    router = APIRouter(tags=["tasks"])

    @router.get(
        "/v1/video/tasks/{task_id}",
        summary="Poll a task",
        response_model=TaskBody,
        responses={404: {"model": ErrorBody}, 503: {"model": ErrorBody}},
    )
    def poll(task_id: str, request: Request) -> JSONResponse:
        """Poll every 5 to 10 seconds until `status` is `completed` or `failed`."""
        task = rooms.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id[:64]!r}")
        return JSONResponse(describe(rooms, task, request))

    return router


def describe(rooms: Rooms, task: Task, request: Request) -> dict[str, Any]:
    """The poll body of a task, with urls that whoever asks can reach. Blocks on the store."""
    position = rooms.tasks.queue_position(task) if task.state == State.QUEUED else None
    return task_body(task, rooms.base_url(request), position)


class Endings:
    """Lets many requests wait for their tasks with one question to the store at a time."""

    def __init__(self, tasks: TaskStore) -> None:
        self._tasks = tasks
        self._waiting: dict[str, list[asyncio.Future[Task]]] = defaultdict(list)
        self._watcher: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many requests wait."""
        return sum(len(waiting) for waiting in self._waiting.values())

    async def wait(self, task_id: str) -> Task:
        """Return the task once it has ended."""
        ended: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self._waiting[task_id].append(ended)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        try:
            return await ended
        finally:
            if ended in (waiting := self._waiting.get(task_id, [])):
                waiting.remove(ended)
                if not waiting:
                    del self._waiting[task_id]

    async def _watch(self) -> None:
        while self._waiting:
            started = time.monotonic()
            try:
                found = await asyncio.to_thread(self._tasks.get_many, list(self._waiting))
            except StoreUnavailable:
                found = []
            for task in found:
                if task.finished:
                    for ended in self._waiting.pop(task.id, []):
                        if not ended.done():
                            ended.set_result(task)
            await asyncio.sleep(max(WATCH_INTERVAL_S, time.monotonic() - started))
