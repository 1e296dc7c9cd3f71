"""The route that lists tasks: newest first, filtered by state, in pages."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from deployments.ingress.context import AppContext
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.routes.tasks import get_owned_task, task_response_at, webhook_bodies
from deployments.ingress.schemas import ErrorBody, QueueStatus, TaskPage
from models.errors import InvalidRequest
from storage.tasks import State, Task

MAX_PAGE = 100
LISTED = frozenset(State) - {State.DELETED}
LIST_EXAMPLE = {
    "tasks": [
        {
            "task_id": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
            "status": "processing",
            "state": "processing",
            "stage": "denoising",
            "step": 12,
            "num_inference_steps": 40,
            "quality": "exact",
            "progress": 0.29,
            "created_at": 1790000000.0,
            "started_at": 1790000002.5,
            "seed": 42,
            "model": "Lightricks/LTX-2",
        }
    ],
    "next_cursor": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": LIST_EXAMPLE}}},
    422: {"model": ErrorBody},
    503: {"model": ErrorBody},
}


def list_tasks_router(context: AppContext) -> APIRouter:
    """Create the router of the task list."""
    router = APIRouter(tags=["tasks"])

    @router.get("/v1/video/tasks", summary="List tasks", response_model=TaskPage, responses=RESPONSES)
    @context.read_threads.offload
    def list_tasks(
        request: Request,
        state: Annotated[list[State] | None, Query(description="Only these states; may repeat.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Tasks on a page.")] = 20,
        cursor: Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")] = None,
    ) -> JSONResponse:
        """Newest first. Deleted tasks are left out; with API keys, so are the tasks of other keys."""
        wanted = LISTED & set(state) if state else LISTED
        owner = request_owner(request)
        beyond = None if cursor is None else sequence_after(context, cursor, owner)
        found = context.tasks.page(wanted, limit + 1, beyond, owner=owner)
        shown = found[:limit]
        following = shown[-1].id if len(found) > limit else None  # an id: a number would count the tasks of others
        return JSONResponse({"tasks": task_responses(context, shown, request), "next_cursor": following})

    return router


def sequence_after(context: AppContext, cursor: str, owner: str | None) -> int:
    """The sequence number after which a page starts. The id of a deleted task still works."""
    task = get_owned_task(context, cursor, owner)
    if task is None:
        raise InvalidRequest("cursor", cursor, "`next_cursor` of a page before")
    return task.sequence


def task_responses(context: AppContext, shown: list[Task], request: Request) -> list[dict[str, Any]]:
    """The poll bodies of several tasks. Blocks on the store."""
    queued = [task for task in shown if task.state == State.QUEUED]
    places = context.tasks.queue_positions(queued) if queued else {}
    paused = context.tasks.paused_at() is not None if queued else False
    waiting = {task_id: QueueStatus(place, paused) for task_id, place in places.items()}
    told = webhook_bodies(context, shown)
    return [task_response_at(context, task, request, waiting.get(task.id), told.get(task.id)) for task in shown]
