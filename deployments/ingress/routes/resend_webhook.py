"""The route with which a client has the server send a webhook again, for example when its receiver works again."""

import time
from typing import Any

from fastapi import APIRouter, Request

from deployments.ingress.context import AppContext
from deployments.ingress.errors import Conflict
from deployments.ingress.routes.tasks import get_task_or_404, task_response
from deployments.ingress.schemas import ErrorBody, TaskBody

RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorBody},
    409: {"model": ErrorBody, "description": "There is nothing to send again."},
    503: {"model": ErrorBody},
}
NOTHING = (
    "the webhook cannot be sent again: the task has not ended or has no webhook_url, or its receiver has the message"
)


def resend_router(context: AppContext) -> APIRouter:
    """Create the router of the resend route."""
    router = APIRouter(tags=["tasks"])

    @router.post(
        "/v1/video/tasks/{task_id}/webhook",
        summary="Send a webhook again",
        response_model=TaskBody,
        response_model_exclude_none=True,
        responses=RESPONSES,
    )
    @context.write_threads.offload
    def resend_webhook(task_id: str, request: Request) -> dict[str, Any]:
        """Restarts a failed delivery with all its attempts; sends a delivery that waits for its next attempt at once.

        The message and its `webhook-id` stay the same.
        """
        task = get_task_or_404(context, task_id, request)
        if not context.tasks.resend_webhook(task.id, time.time()):
            raise Conflict(f"task {task.id}: {NOTHING}")
        return task_response(context, task, request)

    return router
