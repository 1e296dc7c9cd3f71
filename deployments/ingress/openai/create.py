"""The two create routes of OpenAI's video API.

The asynchronous route answers at once with a video to poll. The synchronous route waits and returns the MP4.
"""

import contextlib
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from deployments.ingress.concurrency.limits import upload_slot
from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotFound, error_response, name_fields
from deployments.ingress.openai.mapping import IMAGE_NAMES, create_schema, translate
from deployments.ingress.openai.schemas import ANSWER, PREFIX, CreatedVideo, VideoFailure, errors, failure_of, video_of
from deployments.ingress.request_body.reading import read_any
from deployments.ingress.routes.generate import STATUS, submit_task
from deployments.ingress.routes.outputs import described_files, explain_absence, save_as
from deployments.ingress.schemas import ErrorBody, adjusted_fields
from deployments.ingress.submission import IDEMPOTENCY_PARAMETER
from deployments.ingress.task_watcher import TaskWatcher
from models.request.request import unknown_fields
from storage.tasks import Task

REFUSALS = (408, 413, 422, 429, 503, 507)
MP4: dict[int | str, dict[str, Any]] = {200: {"description": "The MP4", "content": described_files("video/mp4")}}


def create_router(context: AppContext, watcher: TaskWatcher) -> APIRouter:
    """Create the router of the two create routes."""
    router = APIRouter(tags=["openai"])
    kept_s = context.settings.retention.output_ttl_s
    body = {"parameters": [IDEMPOTENCY_PARAMETER], "requestBody": create_schema(context.model, context.settings.limits)}

    @router.post(
        "/v1/videos",
        summary="Create a video",
        responses={**ANSWER, **errors(*REFUSALS)},
        openapi_extra=body,
    )
    async def create_video(request: Request) -> CreatedVideo:
        """Answers at once with a video to poll. Also accepts all fields of the other submit routes."""
        with upload_slot(context.uploads, request):
            task, ignored = await _submit(context, request, await _read(context, request))
        shown = video_of(task, kept_s).model_dump()
        return CreatedVideo(**shown, ignored=ignored, adjusted=adjusted_fields(task))

    @router.post(
        "/v1/videos/sync",
        summary="Create a video, waiting for it",
        response_class=Response,
        responses={**MP4, **errors(409, 500, *REFUSALS)},
        openapi_extra=body,
    )
    async def create_video_sync(request: Request) -> Response:
        """Takes the same fields and holds the connection until the MP4 is ready, as vLLM-Omni does.

        Prefer the other route.
        """
        with contextlib.ExitStack() as held:
            with upload_slot(context.uploads, request):
                fields = await _read(context, request)
                held.enter_context(context.sync_requests.acquire())
                task, _ = await _submit(context, request, fields)
            task = await watcher.wait(task.id)
        return await _send(context, request, task)

    return router


async def _read(context: AppContext, request: Request) -> tuple[dict[str, object], bytes | None]:
    """Read the body: the fields under this server's names, and the image.

    Errors use the field names that the client sent.
    """
    fields, image = await read_any(request, context.settings, IMAGE_NAMES)
    translated = translate(fields, context.model, context.settings.limits)
    name_fields(request, translated.names)
    return translated.fields, image


async def _submit(
    context: AppContext, request: Request, given: tuple[dict[str, object], bytes | None]
) -> tuple[Task, list[str]]:
    """Create a task. Returns the task and the names of the ignored fields."""
    fields, image = given
    return await submit_task(context, request, fields, image), unknown_fields(fields)


async def _send(context: AppContext, request: Request, task: Task) -> Response:
    """Return the MP4 of a finished task, or an error that explains why the task has no video."""
    failure = failure_of(task)
    if failure is not None or task.output is None:
        failure = failure or VideoFailure(code="internal_error", message="the video has no file")
        retryable = task.failure is not None and task.failure.retryable
        body = ErrorBody(error=failure.message, error_code=failure.code, retryable=retryable)
        return error_response(request, STATUS.get(task.state, 409), body)
    file = await context.reads.stat(task.output.key)
    if file is None:
        raise NotFound(await explain_absence(context, task.output.key))
    headers = {
        "Content-Length": str(file.size_bytes),
        "X-Model": task.model,
        "X-Inference-Time-S": f"{(task.finished_at or 0) - (task.started_at or 0):.3f}",
        **save_as(f"{PREFIX}{task.id}.mp4"),
    }
    content = await context.reads.open(task.output.key, 0, file.size_bytes)
    return StreamingResponse(content, 200, headers, "video/mp4")
