"""The preview of a video that is being denoised: a small JPEG, which each new one replaces."""

from typing import Any

from fastapi import APIRouter, Request, Response

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotFound
from deployments.ingress.http_conditions import is_not_modified
from deployments.ingress.routes.outputs import described_files
from deployments.ingress.routes.tasks import get_task_or_404
from deployments.ingress.schemas import errors, has_preview
from models.preview import PreviewMode
from storage.outputs.store import preview_key
from storage.tasks import State, Task

MEDIA_TYPE = "image/jpeg"
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": described_files(MEDIA_TYPE)},
    304: {"description": "The preview has not changed"},
}


def preview_router(context: AppContext) -> APIRouter:
    """Create the router of the preview."""
    router = APIRouter(tags=["tasks"])

    @router.get(
        "/v1/video/tasks/{task_id}/preview",
        summary="See a video while it is made",
        response_class=Response,
        responses={**RESPONSES, **errors(404, 503)},
    )
    async def get_preview(task_id: str, request: Request) -> Response:
        """A small image of one frame as it is so far: the first that is not given. It gets sharper with the steps.

        There is one a few times in a task, from the first steps until the render ends. Before and after, it is a 404.
        """
        task = await context.read_threads.run(get_task_or_404, context, task_id, request)
        if not has_preview(task):
            raise NotFound(_explain_absence(task, context.settings.generator.preview))
        return await _deliver(context, task, request)

    return router


async def _deliver(context: AppContext, task: Task, request: Request) -> Response:
    key = preview_key(task.id)
    file = await context.reads.stat(key)
    if file is None:
        raise NotFound("the preview was just removed: its render has ended")
    headers = {"ETag": f'"{file.etag}"', "Cache-Control": "private, no-cache"}
    if is_not_modified(request, file):
        return Response(status_code=304, headers=headers)
    try:
        content = b"".join([chunk async for chunk in await context.reads.open(key, 0, file.size_bytes)])
    except FileNotFoundError:
        raise NotFound("the preview was just removed: its render has ended") from None
    return Response(content, 200, headers, MEDIA_TYPE)


def _explain_absence(task: Task, mode: PreviewMode) -> str:
    if task.state == State.COMPLETED:
        return "the task is completed: its `url` has the video, and its `poster_url` a frame"
    if task.is_finished:
        return f"the task has no preview, because it has ended: its state is {task.state}"
    if mode is PreviewMode.OFF:
        return "this server makes no previews: `generator.preview` is off"
    if task.preview_step is not None:
        return "the preview was removed, because the video is rendered and is being encoded"
    return "the task has no preview yet: the first one comes after the first denoising steps"
