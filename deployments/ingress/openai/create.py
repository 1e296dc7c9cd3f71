"""The two create routes of OpenAI's video API.

The asynchronous route answers at once with a video to poll. The synchronous route waits and returns the MP4.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from deployments.ingress.concurrency.limits import upload_slot
from deployments.ingress.context import AppContext
from deployments.ingress.dimensions import describe_shapes
from deployments.ingress.errors import error_response, name_fields
from deployments.ingress.model_names import ModelNames
from deployments.ingress.openai.body import create_body
from deployments.ingress.openai.mapping import IMAGE_NAMES, Translated, merge_extra_body, translate
from deployments.ingress.openai.polling import POLL_HEADER, POLL_HEADERS, poll_after_ms
from deployments.ingress.openai.schemas import ANSWER, PREFIX, CreatedVideo, VideoFailure, errors, failure_of, video_of
from deployments.ingress.request_body.given_images import GivenImages, in_order, take_places
from deployments.ingress.request_body.reading import read_sent_images, take_sent_images
from deployments.ingress.routes.generate import STATUS, submit_given
from deployments.ingress.routes.outputs import described_files, send_whole_file
from deployments.ingress.schemas import AdjustedField, ErrorBody, adjusted_fields
from deployments.ingress.submission import IDEMPOTENCY_PARAMETER
from deployments.ingress.task_watcher import TaskWatcher
from models.errors import DoesNotFit
from models.request.json_words import NOTHING
from models.request.request import VideoRequest, unknown_fields
from storage.tasks import Task

REFUSALS = (408, 413, 422, 429, 503, 507)
MP4: dict[int | str, dict[str, Any]] = {200: {"description": "The MP4", "content": described_files("video/mp4")}}
OK = 200


@dataclass(frozen=True)
class CreateRequest:
    """What the client sent: the translated fields, and the images."""

    translated: Translated
    images: GivenImages


def create_router(context: AppContext, models: ModelNames, watcher: TaskWatcher) -> APIRouter:
    """Create the router of the two create routes."""
    router = APIRouter(tags=["openai"])
    kept_s = context.settings.retention.output_ttl_s
    described = {
        "parameters": [IDEMPOTENCY_PARAMETER],
        "requestBody": create_body(models, context.settings.limits),
    }

    @router.post(
        "/v1/videos",
        summary="Create a video",
        responses={OK: {**ANSWER[OK], "headers": POLL_HEADERS}, **errors(*REFUSALS)},
        openapi_extra=described,
    )
    async def create_video(request: Request, response: Response) -> CreatedVideo:
        """Answers at once with a video to poll. Also accepts all fields of the other submit routes."""
        with upload_slot(context.uploads, request):
            given = await _read(context, models, request)
            task = await _submit(context, request, given)
        response.headers[POLL_HEADER] = str(await context.read_threads.run(poll_after_ms, context, task))
        return CreatedVideo(
            **video_of(task, kept_s).model_dump(),
            ignored=unknown_fields(given.translated.fields),
            adjusted=adjusted_by(given.translated, task),
        )

    @router.post(
        "/v1/videos/sync",
        summary="Create a video, waiting for it",
        response_class=Response,
        responses={**MP4, **errors(409, 500, *REFUSALS)},
        openapi_extra=described,
    )
    async def create_video_sync(request: Request) -> Response:
        """Takes the same fields and holds the connection until the MP4 is ready, as vLLM-Omni does.

        Prefer the other route.
        """
        with contextlib.ExitStack() as held:
            with upload_slot(context.uploads, request):
                given = await _read(context, models, request)
                held.enter_context(context.sync_requests.acquire())
                task = await _submit(context, request, given)
            task = await watcher.wait(task.id)
        return await _send(context, request, task)

    return router


async def _read(context: AppContext, models: ModelNames, request: Request) -> CreateRequest:
    """Read the body: the fields under this server's names, and the images.

    Errors use the field names that the client sent.
    """
    fields, images = await read_sent_images(request, context.settings, IMAGE_NAMES)
    fields, further = take_sent_images(merge_extra_body(fields), IMAGE_NAMES)
    beside = {image.field for image in images}
    images = in_order([*images, *(image for image in further if image.field not in beside)])
    places = take_places(fields)
    translated = translate(fields, models, context.settings.limits)
    name_fields(request, {**translated.names, **{image.field: image.name for image in images}})
    return CreateRequest(translated, GivenImages(await context.image_fetcher.fetch_all(images), places))


async def _submit(context: AppContext, request: Request, given: CreateRequest) -> Task:
    try:
        return await submit_given(context, request, given.translated.fields, given.images)
    except DoesNotFit as error:
        raise in_client_words(error, given.translated) from None


def in_client_words(error: DoesNotFit, translated: Translated) -> DoesNotFit:
    """The same error with sizes and seconds, as the client sent them."""
    if error.field in translated.fields and error.field not in translated.names:
        return error
    name = translated.names.get(error.field, "seconds" if error.field == "num_frames" else "size")
    given = NOTHING if translated.given[name] is None else translated.given[name]
    rate = float(str(translated.fields.get("frame_rate", VideoRequest.model_fields["frame_rate"].default)))
    ways = describe_shapes(error.nearest, rate)
    return DoesNotFit(name, given, f"what fits into the GPU's memory: {ways}", error.nearest)


def adjusted_by(translated: Translated, task: Task) -> list[AdjustedField]:
    """What this API and the model changed, under the names that the client used."""
    by_model = [
        each.model_copy(update={"field": translated.names.get(each.field, each.field)})
        for each in adjusted_fields(task)
    ]
    return [*translated.adjusted, *by_model]


async def _send(context: AppContext, request: Request, task: Task) -> Response:
    """Return the MP4 of a finished task, or an error that explains why the task has no video."""
    failure = failure_of(task)
    if failure is not None or task.output is None:
        failure = failure or VideoFailure(code="internal_error", message="the video has no file")
        retryable = task.failure is not None and task.failure.retryable
        body = ErrorBody(error=failure.message, error_code=failure.code, retryable=retryable)
        return error_response(request, STATUS.get(task.state, 409), body)
    headers = {"X-Model": task.model, "X-Inference-Time-S": f"{(task.finished_at or 0) - (task.started_at or 0):.3f}"}
    return await send_whole_file(context, task.output.key, f"{PREFIX}{task.id}.mp4", headers)
