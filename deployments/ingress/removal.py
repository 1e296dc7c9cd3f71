"""DELETE: a task that has not ended is canceled, one that has ended is deleted with its files."""

import logging
from typing import Any

from fastapi import APIRouter, Request

from deployments import logs
from deployments.ingress.errors import NotFound
from deployments.ingress.keys import owner_of
from deployments.ingress.rooms import Rooms
from deployments.ingress.schemas import ErrorBody, Removed
from deployments.ingress.tasks import find_own
from storage.outputs import input_key, output_key, poster_key
from storage.tasks import State, Task

EXAMPLE = {
    "task_id": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "status": "failed",
    "state": "canceled",
    "outcome": "canceled",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": EXAMPLE}}},
    404: {"model": ErrorBody},
    503: {"model": ErrorBody},
}

logger = logging.getLogger("ray.serve")


def removal_router(rooms: Rooms) -> APIRouter:
    """The route that ends and deletes tasks."""
    router = APIRouter(tags=["tasks"])

    @router.delete("/v1/video/tasks/{task_id}", summary="Cancel or delete a task", responses=RESPONSES)
    @rooms.removing.serve
    def delete_task(task_id: str, request: Request) -> Removed:
        """A queued task never starts, a running one stops within a step, a finished one goes with its files.

        `outcome` says which it was. Asking again does no harm.
        """
        removed = remove_task(rooms, task_id, owner_of(request))
        if removed is None:
            raise NotFound(f"there is no task {task_id[:64]!r}")
        return removed

    return router


def remove_task(rooms: Rooms, task_id: str, owner: str | None) -> Removed | None:
    """Cancel the task, or delete it if it has ended; None where this owner has no such task. Blocks on the stores."""
    if owner is not None and find_own(rooms, task_id, owner) is None:
        return None
    removed = _cancel(rooms, task_id) or _delete(rooms, task_id)
    if removed is not None and (task := rooms.tasks.get(task_id)) is not None:
        with logs.about(task):
            logger.info("task %s: %s by a client", task.id, removed.outcome)
    return removed


def _cancel(rooms: Rooms, task_id: str) -> Removed | None:
    """End the task if it has not ended. Whoever works on it writes no more, so nobody misses the picture."""
    if not rooms.tasks.cancel(task_id):
        return None
    rooms.outputs.delete(input_key(task_id))
    return Removed(task_id=task_id, state=State.CANCELED, outcome="canceled")


def _delete(rooms: Rooms, task_id: str) -> Removed | None:
    """The row says so first: no poll names a file that is gone. A second call removes what the first could not."""
    deleted = rooms.tasks.delete(task_id)
    task = rooms.tasks.get(task_id)
    if task is None:
        return None
    rooms.tasks.end_webhooks(task.id)
    _remove_files(rooms, task)
    return Removed(task_id=task.id, state=task.state, outcome="deleted" if deleted else "already_deleted")


def _remove_files(rooms: Rooms, task: Task) -> None:
    for key in (output_key(task.id), poster_key(task.id), input_key(task.id)):
        rooms.outputs.delete(key)
