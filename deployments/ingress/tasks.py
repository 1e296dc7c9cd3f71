"""Reading tasks: the poll, and the wait of the synchronous routes."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deployments.ingress.errors import NotFound
from deployments.ingress.rooms import Rooms
from deployments.ingress.schemas import ErrorBody, TaskBody, task_body
from storage.tasks import State, Task


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
    return describe_at(rooms, task, request, position)


def describe_at(rooms: Rooms, task: Task, request: Request, queue_position: int | None) -> dict[str, Any]:
    """The same, of a task whose place in the queue is known."""
    eta_s, kept_s = rooms.pace.eta_s(task, queue_position), rooms.settings.retention.outputs_s
    return task_body(task, rooms.base_url(request), queue_position, eta_s, kept_s)
