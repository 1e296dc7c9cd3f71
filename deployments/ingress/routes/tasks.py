"""Reads tasks: the poll route, and the response bodies that other routes share."""

from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotFound
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.schemas import ErrorBody, QueueStatus, TaskBody, task_body
from storage.tasks import State, Task
from storage.webhooks import DeliveryState, DeliveryStatus


def tasks_router(context: AppContext) -> APIRouter:
    """Build the router that polls tasks."""
    router = APIRouter(tags=["tasks"])

    @router.get(
        "/v1/video/tasks/{task_id}",
        summary="Poll a task",
        response_model=TaskBody,
        responses={404: {"model": ErrorBody}, 503: {"model": ErrorBody}},
    )
    async def get_task(task_id: str, request: Request) -> JSONResponse:
        """Poll every 5 to 10 seconds until `status` is `completed` or `failed`."""
        return JSONResponse(await context.reading.run(_look, context, task_id, request))

    return router


def _look(context: AppContext, task_id: str, request: Request) -> dict[str, Any]:
    return task_response(context, get_task_or_404(context, task_id, request), request)


def get_task_or_404(context: AppContext, task_id: str, request: Request) -> Task:
    """Return the task if the requester owns it. Raises NotFound. Blocks on the store."""
    task = get_owned_task(context, task_id, request_owner(request))
    if task is None:
        raise NotFound(f"there is no task {task_id[:64]!r}")
    return task


def get_owned_task(context: AppContext, task_id: str, owner: str | None) -> Task | None:
    """Return the task; None if it does not exist or belongs to another owner. Blocks on the store."""
    task = context.tasks.get(task_id)
    return task if task is not None and owner in (None, task.owner) else None


def task_response(context: AppContext, task: Task, request: Request) -> dict[str, Any]:
    """Return the poll body of a task, with URLs that the requester can reach. Blocks on the store."""
    waiting = None
    if task.state == State.QUEUED:
        waiting = QueueStatus(context.tasks.queue_position(task), context.tasks.paused_at() is not None)
    return task_response_at(context, task, request, waiting, webhook_bodies(context, [task]).get(task.id))


def task_response_at(
    context: AppContext, task: Task, request: Request, waiting: QueueStatus | None, webhook: DeliveryStatus | None
) -> dict[str, Any]:
    """Return the poll body of a task whose queue status and webhook status are known."""
    eta_s = None
    if waiting is None or not waiting.paused:
        eta_s = context.throughput.eta_s(task, waiting.place if waiting else None)
    kept_s = context.settings.retention.output_ttl_s
    return task_body(task, context.urls(request), waiting=waiting, eta_s=eta_s, kept_s=kept_s, webhook=webhook)


def webhook_bodies(context: AppContext, tasks: Collection[Task]) -> dict[str, DeliveryStatus]:
    """Return the delivery status of the tasks that have a webhook. Blocks on the store."""
    asked = [task for task in tasks if task.request.webhook_url is not None]
    to_come = {task.id: DeliveryStatus(DeliveryState.PENDING) for task in asked if not task.is_finished}
    return to_come | context.tasks.webhooks_of([task.id for task in asked if task.is_finished])
