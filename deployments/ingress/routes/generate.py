"""The four submit routes: they check the request, store the images and insert the task row."""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from deployments.ingress.concurrency.limits import upload_slot
from deployments.ingress.context import AppContext
from deployments.ingress.images.formats import TAKEN
from deployments.ingress.images.given import fit_images
from deployments.ingress.media.conversion import read_given_media
from deployments.ingress.media_file import GivenMediaFile
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.prompts.routes import ENHANCE_PROMPT, enhance_or_keep
from deployments.ingress.request_body.form import missing_image
from deployments.ingress.request_body.given_images import NO_IMAGES, GivenImages
from deployments.ingress.request_body.given_media import SOURCE_TASK
from deployments.ingress.request_body.image_fields import images_body
from deployments.ingress.request_body.openapi import json_body
from deployments.ingress.request_body.reading import read_images, read_json
from deployments.ingress.routes.tasks import task_response
from deployments.ingress.schemas import QUEUED_MESSAGE, ErrorBody, Submitted, TaskBody, adjusted_fields, errors
from deployments.ingress.source_task import read_last_frame
from deployments.ingress.submission import (
    IDEMPOTENCY_HEADER,
    IDEMPOTENCY_PARAMETER,
    Submission,
    check_admission,
    read_request_context,
    submit_new,
    submit_request,
)
from deployments.ingress.task_watcher import TaskWatcher
from deployments.observability import log_context
from deployments.observability.tracing import in_span
from models.errors import InvalidRequest
from models.request.json_schema import request_schema
from models.request.json_words import Described
from models.request.loose_values import is_blank
from models.request.places import IMAGE
from models.request.request import unknown_fields
from storage.tasks import ANONYMOUS, State, Task

REFUSALS = errors(408, 413, 422, 429, 503, 507)

logger = logging.getLogger("ray.serve")


class CompletedTask(TaskBody):
    """The answer of a synchronous route: the final poll body and the ignored fields."""

    ignored: Annotated[tuple[str, ...], Field(description="Fields that you sent and that do not exist.")] = ()


STATUS = {State.COMPLETED: 200, State.FAILED: 500}
"""HTTP status of a synchronous route by the task's final state.

Any other state is a 409: the task was canceled or deleted. That is not a server error, and clients should not retry.
"""
STATUS_BY_END: dict[int | str, dict[str, Any]] = {
    409: {"model": CompletedTask, "description": "The task was canceled or deleted meanwhile"},
    500: {"model": CompletedTask, "description": "The task failed"},
}
SOURCE_REFUSALS = {**REFUSALS, **errors(404, 409, 410)}
"""The refusals of a route that takes a `source_task`."""
SOURCE_STATUS_BY_END: dict[int | str, dict[str, Any]] = {
    **STATUS_BY_END,
    409: {
        "model": CompletedTask | ErrorBody,
        "description": "The source task is not completed, or the new task was canceled or deleted meanwhile",
    },
}


def video_router(context: AppContext, watcher: TaskWatcher) -> APIRouter:
    """Create the router of the four submit routes."""
    router = APIRouter(tags=["video"])
    waiting = context.sync_requests
    text_body, image_body = _text_body(context), _image_body(context)

    @router.post(
        "/v1/video/async_t2v",
        summary="Text to video",
        response_model=Submitted,
        responses=REFUSALS,
        openapi_extra=text_body,
    )
    async def submit_text_to_video(request: Request) -> Submitted:
        """Answers at once with a task to poll."""
        fields, _ = await read_json(request, context.settings)
        return await answer_submit(context, request, fields)

    @router.post(
        "/v1/video/async_i2v",
        summary="Image to video",
        response_model=Submitted,
        responses=SOURCE_REFUSALS,
        openapi_extra=image_body,
    )
    async def submit_image_to_video(request: Request) -> Submitted:
        """Answers at once with a task to poll. Images become the first frame, the last, or any between."""
        with upload_slot(context.uploads, request):
            fields, given = await read_images_or_source(context, request)
            return await answer_submit(context, request, fields, given)

    @router.post(
        "/v1/video/t2v",
        summary="Text to video, waiting for it",
        response_model=CompletedTask,
        responses={**REFUSALS, **STATUS_BY_END},
        openapi_extra=text_body,
    )
    async def make_text_to_video(request: Request) -> JSONResponse:
        """Holds the connection until the video is done. Prefer the asynchronous route."""
        fields, _ = await read_json(request, context.settings)
        with waiting.acquire():  # after reading the body: a client that sends none must not use up the limit
            submitted = await answer_submit(context, request, fields)
            return await wait_for_task(context, request, watcher, submitted)

    @router.post(
        "/v1/video/i2v",
        summary="Image to video, waiting for it",
        response_model=CompletedTask,
        responses={**SOURCE_REFUSALS, **SOURCE_STATUS_BY_END},
        openapi_extra=image_body,
    )
    async def make_image_to_video(request: Request) -> JSONResponse:
        """Holds the connection until the video is done. Prefer the asynchronous route."""
        with contextlib.ExitStack() as held:
            with upload_slot(context.uploads, request):
                fields, given = await read_images_or_source(context, request)
                held.enter_context(waiting.acquire())
                submitted = await answer_submit(context, request, fields, given)
            return await wait_for_task(context, request, watcher, submitted)

    return router


async def read_images_or_source(context: AppContext, request: Request) -> tuple[dict[str, object], GivenImages]:
    """Read the fields and the images, of which the first may be the last frame of a `source_task`."""
    fields, given = await read_images(request, context.settings)
    source = fields.pop(SOURCE_TASK, None)
    if not is_blank(source):
        frame = await read_last_frame(context, request, source)
        if any(name == IMAGE for name, _ in given.files):
            raise InvalidRequest(SOURCE_TASK, Described("an id"), f"left out: there is an {IMAGE}")
        given = replace(given, files=((IMAGE, frame), *given.files))
    if not given.files:
        raise missing_image(IMAGE)
    return fields, given


async def submit_given(
    context: AppContext,
    request: Request,
    fields: Mapping[str, object],
    given: GivenImages,
    media: GivenMediaFile | None = None,
) -> Task:
    """Create the task and notify the Dispatchers. Raises the errors of `check_admission` and `submit_request`."""
    origin = read_request_context(request)
    with in_span(context.tracer, "submit", origin.traceparent) as span:
        submission = Submission(
            context.base_url(request),
            fields,
            given,
            request.headers.get(IDEMPOTENCY_HEADER),
            request_owner(request) or ANONYMOUS,
            replace(origin, traceparent=span.traceparent),
            media=None if media is None else media.given,
        )
        if media is not None:
            task = await _submit_in_steps(context, submission, lambda: media.fetch(context, request))
        elif given.files or ENHANCE_PROMPT in fields:
            task = await _submit_in_steps(context, submission)
        else:
            task = await context.write_threads.run(submit_request, context, submission)
    await context.notify_dispatchers()
    with log_context.bind_task(task):
        logger.info("task %s: accepted", task.id)
        if context.settings.log.include_prompts:
            logger.info("task %s: its prompt is %r", task.id, task.request.prompt)
    return task


async def _submit_in_steps(
    context: AppContext, submission: Submission, fetch: Callable[[], Awaitable[Path]] | None = None
) -> Task:
    """Check the request, then decode its files and have its prompt rewritten, then write it.

    `fetch` returns the path of the audio or the video, if there is one.
    """
    new = await context.write_threads.run(check_admission, context, submission)
    if isinstance(new, Task):
        return new
    media = None
    if submission.media is not None and fetch is not None:
        path, limits = await fetch(), context.settings.limits
        known = context.settings.generator.known_loras
        media = await context.media_threads.run(read_given_media, submission.media, path, new.request, limits, known)
        new = replace(new, request=media.request, adjustments=media.adjustments)
        if submission.awaits_length:
            submission.given.parse_places(new.request)
    asked, given, fitted, enhancement = new.request, submission.given, None, None
    if given.files:
        fitted = await fit_images(context.image_threads, given, asked, context.settings.limits)
    if asked.enhance_prompt:
        enhancement = await enhance_or_keep(context, asked, () if fitted is None else fitted.images)
    threads = context.write_threads if fitted is None and media is None else context.image_threads
    return await threads.run(submit_new, context, new, fitted, enhancement, media)


async def answer_submit(
    context: AppContext,
    request: Request,
    fields: Mapping[str, object],
    given: GivenImages = NO_IMAGES,
    media: GivenMediaFile | None = None,
) -> Submitted:
    """Create the task and return the answer of an asynchronous route. Raises as `submit_given` does."""
    task = await submit_given(context, request, fields, given, media)
    return Submitted(
        task_id=task.id,
        message=QUEUED_MESSAGE,
        seed=task.request.seed or 0,
        model=task.model,
        ignored=unknown_fields(fields),
        adjusted=adjusted_fields(task),
    )


async def wait_for_task(
    context: AppContext, request: Request, watcher: TaskWatcher, submitted: Submitted
) -> JSONResponse:
    """Wait until the task has ended, and return the answer of a synchronous route."""
    task = await watcher.wait(submitted.task_id)
    body = await context.read_threads.run(task_response, context, task, request)
    return JSONResponse({**body, "ignored": submitted.ignored}, STATUS.get(task.state, 409))


def _text_body(context: AppContext) -> dict[str, Any]:
    """The request body for OpenAPI, with this server's limits."""
    schema = request_schema(context.settings.limits, loras=context.settings.generator.plain_loras)
    del schema["properties"]["fit"]
    return _described(json_body(schema))


def _image_body(context: AppContext) -> dict[str, Any]:
    limits, loras = context.settings.limits, context.settings.generator.plain_loras
    taken = f"{TAKEN}, of at most {limits.max_image_bytes} bytes."
    return _described(images_body(request_schema(limits, loras=loras), taken, with_example=True))


def _described(content: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": [IDEMPOTENCY_PARAMETER], "requestBody": {"required": True, "content": content}}
