"""The poll route, and the functions that read tasks for other routes."""

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
    """Create the router of the poll route."""
    router = APIRouter(tags=["tasks"])

    @router.get(
        "/v1/video/tasks/{task_id}",
        summary="Poll a task",
        response_model=TaskBody,
        responses={404: {"model": ErrorBody}, 503: {"model": ErrorBody}},
    )
    async def get_task(task_id: str, request: Request) -> JSONResponse:
        """Poll every 5 to 10 seconds until `status` is `completed` or `failed`."""
        return JSONResponse(await context.read_threads.run(_look, context, task_id, request))

    return router


def _look(context: AppContext, task_id: str, request: Request) -> dict[str, Any]:
    return task_response(context, get_task_or_404(context, task_id, request), request)


def get_task_or_404(context: AppContext, task_id: str, request: Request) -> Task:
    """The task, if the client may see it. Raises NotFound. Blocks on the store."""
    task = get_owned_task(context, task_id, request_owner(request))
    if task is None:
        raise NotFound(f"there is no task {task_id[:64]!r}")
    return task


def get_owned_task(context: AppContext, task_id: str, owner: str | None) -> Task | None:
    """The task, if it belongs to `owner` or `owner` is None; otherwise None. Blocks on the store."""
    task = context.tasks.get(task_id)
    return task if task is not None and owner in (None, task.owner) else None


def task_response(context: AppContext, task: Task, request: Request) -> dict[str, Any]:
    """The poll body of a task, with urls that the client can reach. Blocks on the store."""
    waiting = _queue_status(context, task)
    return task_response_at(context, task, request, waiting, webhook_bodies(context, [task]).get(task.id))


def estimate_eta_s(context: AppContext, task: Task) -> float | None:
    """The seconds until the task ends; None where nothing is known. Blocks on the store."""
    return _eta_s(context, task, _queue_status(context, task))


def _queue_status(context: AppContext, task: Task) -> QueueStatus | None:
    if task.state != State.QUEUED:
        return None
    return QueueStatus(context.tasks.queue_position(task), context.tasks.paused_at() is not None)


def _eta_s(context: AppContext, task: Task, waiting: QueueStatus | None) -> float | None:
    if waiting is not None and waiting.paused:
        return None
    return context.throughput.eta_s(task, waiting.place if waiting else None)


def task_response_at(
    context: AppContext, task: Task, request: Request, waiting: QueueStatus | None, webhook: DeliveryStatus | None
) -> dict[str, Any]:
    """The poll body of a task whose queue position and webhook status are already known."""
    eta_s = _eta_s(context, task, waiting)
    kept_s = context.settings.retention.output_ttl_s
    return task_body(task, context.urls(request), waiting=waiting, eta_s=eta_s, kept_s=kept_s, webhook=webhook)


def webhook_bodies(context: AppContext, tasks: Collection[Task]) -> dict[str, DeliveryStatus]:
    """The webhook status by task id, for tasks that have a `webhook_url`. Blocks on the store.

    A finished task whose delivery is no longer stored is left out.
    """
    asked = [task for task in tasks if task.request.webhook_url is not None]
    to_come = {task.id: DeliveryStatus(DeliveryState.PENDING) for task in asked if not task.is_finished}
    return to_come | context.tasks.webhooks_of([task.id for task in asked if task.is_finished])
