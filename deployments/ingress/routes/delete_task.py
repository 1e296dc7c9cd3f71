"""The DELETE route: cancels an unfinished task, or deletes a finished task with its files."""

import logging
from typing import Any

from fastapi import APIRouter, Request

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotFound
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.routes.tasks import get_owned_task
from deployments.ingress.schemas import DeleteResult, ErrorBody
from deployments.observability import log_context
from storage.outputs.store import all_keys, input_key
from storage.tasks import State, Task

DELETE_EXAMPLE = {
    "task_id": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "status": "failed",
    "state": "canceled",
    "outcome": "canceled",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": DELETE_EXAMPLE}}},
    404: {"model": ErrorBody},
    503: {"model": ErrorBody},
}

logger = logging.getLogger("ray.serve")


def deletion_router(context: AppContext) -> APIRouter:
    """Create the router of the DELETE route."""
    router = APIRouter(tags=["tasks"])

    @router.delete("/v1/video/tasks/{task_id}", summary="Cancel or delete a task", responses=RESPONSES)
    @context.delete_threads.offload
    def delete_task(task_id: str, request: Request) -> DeleteResult:
        """A queued task never starts, a running one stops within a step, an ended one is deleted with its files.

        `outcome` says which of these happened. Repeating the request is safe.
        """
        removed = cancel_or_delete_task(context, task_id, request_owner(request))
        if removed is None:
            raise NotFound(f"there is no task {task_id[:64]!r}")
        return removed

    return router


def cancel_or_delete_task(context: AppContext, task_id: str, owner: str | None) -> DeleteResult | None:
    """Cancel the task, or delete it if it has ended; None if the owner has no such task. Blocks on the stores."""
    if owner is not None and get_owned_task(context, task_id, owner) is None:
        return None
    removed = _cancel(context, task_id) or _delete(context, task_id)
    if removed is not None and (task := context.tasks.get(task_id)) is not None:
        with log_context.bind_task(task):
            logger.info("task %s: %s by a client", task.id, removed.outcome)
    return removed


def cancel_task(context: AppContext, task_id: str, owner: str | None) -> DeleteResult | None:
    """Cancel the task; None if it has ended or the owner has no such task. Blocks on the stores."""
    if owner is not None and get_owned_task(context, task_id, owner) is None:
        return None
    canceled = _cancel(context, task_id)
    if canceled is not None:
        logger.info("task %s: canceled by a client", task_id)
    return canceled


def _cancel(context: AppContext, task_id: str) -> DeleteResult | None:
    """Cancel the task if it has not ended. Its worker can no longer write to the row, so the image can be deleted."""
    if not context.tasks.cancel(task_id):
        return None
    context.outputs.delete(input_key(task_id))
    return DeleteResult(task_id=task_id, state=State.CANCELED, outcome="canceled")


def _delete(context: AppContext, task_id: str) -> DeleteResult | None:
    """Mark the row as deleted, then delete the files.

    In this order, no poll returns a url of a deleted file. A second call deletes files that the first could not.
    """
    deleted = context.tasks.delete(task_id)
    task = context.tasks.get(task_id)
    if task is None:
        return None
    context.tasks.fail_webhooks(task.id)
    _delete_files(context, task)
    return DeleteResult(task_id=task.id, state=task.state, outcome="deleted" if deleted else "already_deleted")


def _delete_files(context: AppContext, task: Task) -> None:
    for key in all_keys(task.id):
        context.outputs.delete(key)
