"""Streams the changes of a task as server-sent events until the task ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from deployments.ingress.concurrency.limits import ConcurrencyLimit
from deployments.ingress.context import AppContext
from deployments.ingress.routes.tasks import get_task_or_404, task_response
from deployments.ingress.schemas import ErrorBody, has_preview, preview_url
from deployments.ingress.task_watcher import TaskUpdates, TaskWatcher
from models.errors import StoreUnavailable
from models.progress import Stage
from storage.tasks import Task

STAGES = tuple(Stage)
PROGRESS_PARTS = 10_000_000
STILL_HERE = ": still here\n\n"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Caches must not store a stream, and proxies must not buffer it."""
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"example": 'id: 1\nevent: progress\ndata: {"status": "processing"}\n\n'}}},
    204: {"description": "The task has ended, and `Last-Event-ID` shows that you have its final state"},
    404: {"model": ErrorBody},
    429: {"model": ErrorBody},
    503: {"model": ErrorBody},
}


def events_router(context: AppContext, watcher: TaskWatcher) -> APIRouter:
    """Create the router of the event stream."""
    router = APIRouter(tags=["tasks"])
    streams = context.concurrency_limit(
        context.settings.ingress.max_event_streams, "event streams", "too_many_event_streams", "poll instead"
    )

    @router.get(
        "/v1/video/tasks/{task_id}/events",
        summary="Follow a task",
        response_class=StreamingResponse,
        responses=RESPONSES,
    )
    async def follow_task(task_id: str, request: Request) -> Response:
        """Server-sent events: `progress` with the poll body at each change, then one event named as the final `status`.

        `preview` says that there is a new preview of the video: its url, and the step after which it was made.
        A client that reconnects with `Last-Event-ID` gets what has changed since then.
        """
        task = await context.read_threads.run(get_task_or_404, context, task_id, request)
        known = request.headers.get("last-event-id", "")
        if task.is_finished and known == str(revision(task)):
            return Response(status_code=204)  # a 204 makes an EventSource stop reconnecting
        streams.check_free()
        return StreamingResponse(
            _stream(context, watcher, streams, task_id, request), 200, HEADERS, "text/event-stream"
        )

    return router


async def _stream(
    context: AppContext, watcher: TaskWatcher, streams: ConcurrencyLimit, task_id: str, request: Request
) -> AsyncIterator[str]:
    known = Known(request.headers.get("last-event-id", ""))
    with streams.acquire(), watcher.subscribe(task_id) as updates:
        async for task in _changes(updates, known, context.settings.ingress.sse_keepalive_s):
            if task is None:
                yield STILL_HERE
                continue
            if known.is_new_revision(task):
                yield await _event(context, task, request)
            if known.is_new_preview(task):
                yield _preview_event(context, task, request)
            known.update(task)


@dataclass
class Known:
    """What the client of a stream knows: the revision of the task, and its newest preview as (claim token, step)."""

    revision: str
    preview: tuple[int, int | None] = (0, None)

    def is_new_revision(self, task: Task) -> bool:
        """Whether the client does not know this state of the task."""
        return task.is_finished or str(revision(task)) != self.revision

    def is_new_preview(self, task: Task) -> bool:
        """Whether there is a preview that the client does not know."""
        return has_preview(task) and (task.claim_token, task.preview_step) != self.preview

    def update(self, task: Task) -> None:
        """Remember what the client was told."""
        self.revision, self.preview = str(revision(task)), (task.claim_token, task.preview_step)


async def _changes(updates: TaskUpdates, known: Known, sse_keepalive_s: float) -> AsyncIterator[Task | None]:
    """Yield the task when it has more than is `known`; None after `sse_keepalive_s` without a change."""
    loop = asyncio.get_running_loop()
    spoken_at = loop.time()
    while True:
        try:
            async with asyncio.timeout_at(spoken_at + sse_keepalive_s):
                task = await _next_change(updates, known)
        except TimeoutError:
            spoken_at = loop.time()
            yield None
            continue
        if task is None:
            return
        spoken_at = loop.time()
        yield task
        if task.is_finished:
            return


async def _next_change(updates: TaskUpdates, known: Known) -> Task | None:
    """Wait for an update with something new; None if the row no longer exists."""
    while (task := await updates.get()) is not None:
        if known.is_new_revision(task) or known.is_new_preview(task):
            return task
    return None


async def _event(context: AppContext, task: Task, request: Request) -> str:
    try:
        body = await context.read_threads.run(task_response, context, task, request)
    except StoreUnavailable:
        return STILL_HERE  # the body could not be read; the next change sends it
    name = body["status"] if task.is_finished else "progress"
    return f"id: {revision(task)}\nevent: {name}\ndata: {json.dumps(body)}\n\n"


def _preview_event(context: AppContext, task: Task, request: Request) -> str:
    """It has no id: a client that reconnects is told of the newest preview again."""
    body = {"task_id": task.id, "step": task.preview_step, "url": preview_url(task, context.base_url(request))}
    return f"event: preview\ndata: {json.dumps(body)}\n\n"


def revision(task: Task) -> int:
    """A number that rises with each change of the task. All replicas compute the same one, from the row alone."""
    rank = len(STAGES) + 1 if task.is_finished else 0 if task.stage is None else 1 + STAGES.index(task.stage)
    return (task.claim_token * 10 + rank) * PROGRESS_PARTS + min(round(task.progress * 1e6), PROGRESS_PARTS - 1)
