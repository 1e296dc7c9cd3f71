"""Reading tasks: the poll, and the wait of the synchronous routes."""

from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deployments.ingress.errors import NotFound
from deployments.ingress.keys import owner_of
from deployments.ingress.rooms import Rooms
from deployments.ingress.schemas import ErrorBody, TaskBody, Waiting, task_body
from storage.tasks import State, Task
from storage.webhooks import DeliveryState, Standing


def tasks_router(rooms: Rooms) -> APIRouter:
    """The routes about tasks that exist."""
    router = APIRouter(tags=["tasks"])

    @router.get(
        "/v1/video/tasks/{task_id}",
        summary="Poll a task",
        response_model=TaskBody,
        responses={404: {"model": ErrorBody}, 503: {"model": ErrorBody}},
    )
    async def get_task(task_id: str, request: Request) -> JSONResponse:
        """Poll every 5 to 10 seconds until `status` is `completed` or `failed`."""
        return JSONResponse(await rooms.reading.run(_look, rooms, task_id, request))

    return router


def _look(rooms: Rooms, task_id: str, request: Request) -> dict[str, Any]:
    return describe(rooms, find_task(rooms, task_id, request), request)


def find_task(rooms: Rooms, task_id: str, request: Request) -> Task:
    """The task, if whoever asks may know of it. Raises NotFound. Blocks on the store."""
    task = find_own(rooms, task_id, owner_of(request))
    if task is None:
        raise NotFound(f"there is no task {task_id[:64]!r}")
    return task


def find_own(rooms: Rooms, task_id: str, owner: str | None) -> Task | None:
    """The same for an owner: another one's task is as good as none. Blocks on the store."""
    task = rooms.tasks.get(task_id)
    return task if task is not None and owner in (None, task.owner) else None


def describe(rooms: Rooms, task: Task, request: Request) -> dict[str, Any]:
    """The poll body of a task, with urls that whoever asks can reach. Blocks on the store."""
    waiting = None
    if task.state == State.QUEUED:
        waiting = Waiting(rooms.tasks.place(task), rooms.tasks.paused_at() is not None)
    return describe_at(rooms, task, request, waiting, webhooks(rooms, [task]).get(task.id))


def describe_at(
    rooms: Rooms, task: Task, request: Request, waiting: Waiting | None, webhook: Standing | None
) -> dict[str, Any]:
    """The same, of a task whose place in the queue and whose webhook are known."""
    eta_s = None
    if waiting is None or not waiting.paused:
        eta_s = rooms.pace.eta_s(task, waiting.place if waiting else None)
    kept_s = rooms.settings.retention.outputs_s
    return task_body(task, rooms.links(request), waiting=waiting, eta_s=eta_s, kept_s=kept_s, webhook=webhook)


def webhooks(rooms: Rooms, tasks: Collection[Task]) -> dict[str, Standing]:
    """How the messages stand of those tasks that asked for one and have it still. Blocks on the store."""
    asked = [task for task in tasks if task.request.webhook_url is not None]
    to_come = {task.id: Standing(DeliveryState.PENDING) for task in asked if not task.finished}
    return to_come | rooms.tasks.webhooks_of([task.id for task in asked if task.finished])
