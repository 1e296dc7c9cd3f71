"""The routes of the hosted LTX API: version 1 waits and returns the MP4, version 2 returns a job to poll."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotFound, error_response
from deployments.ingress.ltx_api.body import create_body
from deployments.ingress.ltx_api.comfyui import comfyui_router
from deployments.ingress.ltx_api.images import UPLOADS, read_image
from deployments.ingress.ltx_api.mapping import (
    IMAGE,
    IMAGES,
    LAST_FRAME,
    RequestRules,
    explain_does_not_fit,
    map_request,
)
from deployments.ingress.ltx_api.media import MediaCreation
from deployments.ingress.ltx_api.media_mapping import ENDPOINT_OF, URIS, media_operation
from deployments.ingress.ltx_api.schemas import (
    ENDPOINTS,
    EXAMPLE_ID,
    LtxJob,
    LtxSubmitted,
    LtxUpload,
    belongs_to,
    errors,
    failure_of,
    job_of,
    submitted_of,
    to_datetime,
)
from deployments.ingress.ltx_api.unsupported import unsupported_router
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.model_names import ModelNames
from deployments.ingress.request_body.given_images import NO_IMAGES, GivenImages
from deployments.ingress.request_body.given_media import MediaUse
from deployments.ingress.request_body.reading import discard_body, read_long_json
from deployments.ingress.routes.generate import submit_given
from deployments.ingress.routes.outputs import described_files, send_whole_file
from deployments.ingress.routes.tasks import get_owned_task
from deployments.ingress.schemas import ErrorBody
from deployments.ingress.task_watcher import TaskWatcher
from deployments.ingress.uploads.access import create_upload
from models.errors import DoesNotFit, InvalidRequest
from storage.tasks import TASK_ID_PATTERN, State, Task

REFUSALS = (400, 413, 429, 503)
MP4: dict[int | str, dict[str, Any]] = {200: {"description": "The MP4", "content": described_files("video/mp4")}}
TIMEOUT = "timeout"
"""The code of a task that was not done by its deadline."""


def ltx_router(context: AppContext, watcher: TaskWatcher) -> APIRouter:
    """Create the router of both versions and of the uploads."""
    router = APIRouter(tags=["ltx"])
    models = ModelNames(context.model, context.settings.ingress.ltx_api_models)
    creation = Creation(context, models)
    _add_v1(router, creation, watcher)
    _add_v2(router, creation)
    for use in URIS:
        _add_media(router, context, MediaCreation(context, models), watcher, use)
    _add_poll(router, context)
    _add_upload(router, context)
    router.include_router(comfyui_router(context))
    router.include_router(unsupported_router(context))
    return router


class Creation:
    """Makes tasks from requests of this API."""

    def __init__(self, context: AppContext, models: ModelNames) -> None:
        self.context = context
        self._models = models

    def body(self, *, with_image: bool) -> dict[str, Any]:
        """The body of a create route, for OpenAPI."""
        return create_body(RequestRules(self._models, self.context.settings.limits), with_image=with_image)

    async def create(self, request: Request, *, with_image: bool, waiting: contextlib.ExitStack | None = None) -> Task:
        """Read a request and create its task. With `waiting`, also count it as one that waits for the task."""
        with self._upload(with_image=with_image):
            given = await read_long_json(request, self.context.settings, tuple(IMAGES) if with_image else ())
            fields = await self._map(given)
            if not with_image and given.get(LAST_FRAME):
                raise InvalidRequest(LAST_FRAME, given[LAST_FRAME], "left out: it belongs to image-to-video")
            images = await self._read_images(request, given) if with_image else NO_IMAGES
            if waiting is not None:
                waiting.enter_context(self.context.sync_requests.acquire())
            try:
                return await submit_given(self.context, request, fields, images)
            except DoesNotFit as error:
                raise explain_does_not_fit(error, given, fields) from None

    async def _read_images(self, request: Request, given: Mapping[str, object]) -> GivenImages:
        """The images that the request names. The first frame is required."""
        named = {name: given.get(name) for name in IMAGES if name == IMAGE or given.get(name)}
        files = [(IMAGES[name], await read_image(self.context, request, name, uri)) for name, uri in named.items()]
        return GivenImages(tuple(files))

    async def _map(self, given: Mapping[str, object]) -> dict[str, object]:
        """Map the fields. Only a request without a duration asks the store what the model can do."""
        info, can = self.context.model_info, False
        if given.get("duration", 0) is None:
            profile = await self.context.read_threads.run(info.profile)
            can = profile is not None and profile.duration_head
        settings = self.context.settings
        enhances = settings.enhance.is_configured
        rules = RequestRules(
            self._models,
            settings.limits,
            predicts_duration=can,
            enhances_prompts=enhances,
            loras=settings.generator.plain_loras,
        )
        return map_request(given, rules)

    @contextlib.contextmanager
    def _upload(self, *, with_image: bool) -> Iterator[None]:
        """Count a request with an image as an upload, until its image is decoded."""
        with self.context.uploads.acquire() if with_image else contextlib.nullcontext():
            yield


def _add_v1(router: APIRouter, creation: Creation, watcher: TaskWatcher) -> None:
    responses = {**MP4, **errors(500, 504, *REFUSALS)}

    async def make(request: Request, *, with_image: bool) -> Response:
        with contextlib.ExitStack() as waiting:
            task = await creation.create(request, with_image=with_image, waiting=waiting)
            task = await watcher.wait(task.id)
        return await _send_video(creation.context, request, task)

    @router.post(
        "/v1/text-to-video",
        summary="LTX API: text to video, waiting for it",
        response_class=Response,
        responses=responses,
        openapi_extra=creation.body(with_image=False),
    )
    async def make_ltx_text_to_video(request: Request) -> Response:
        """Holds the connection until the MP4 is ready. Prefer version 2."""
        return await make(request, with_image=False)

    @router.post(
        "/v1/image-to-video",
        summary="LTX API: image to video, waiting for it",
        response_class=Response,
        responses=responses,
        openapi_extra=creation.body(with_image=True),
    )
    async def make_ltx_image_to_video(request: Request) -> Response:
        """Holds the connection until the MP4 is ready. The image becomes the first frame. Prefer version 2."""
        return await make(request, with_image=True)


def _add_v2(router: APIRouter, creation: Creation) -> None:
    @router.post(
        "/v2/text-to-video",
        status_code=202,
        summary="LTX API: text to video",
        responses=errors(*REFUSALS),
        openapi_extra=creation.body(with_image=False),
    )
    async def submit_ltx_text_to_video(request: Request) -> LtxSubmitted:
        """Answers at once with a job to poll."""
        return submitted_of(await creation.create(request, with_image=False))

    @router.post(
        "/v2/image-to-video",
        status_code=202,
        summary="LTX API: image to video",
        responses=errors(*REFUSALS),
        openapi_extra=creation.body(with_image=True),
    )
    async def submit_ltx_image_to_video(request: Request) -> LtxSubmitted:
        """Answers at once with a job to poll. The image becomes the first frame."""
        return submitted_of(await creation.create(request, with_image=True))


def _add_media(
    router: APIRouter, context: AppContext, creation: MediaCreation, watcher: TaskWatcher, use: MediaUse
) -> None:
    endpoint, operation = ENDPOINT_OF[use], media_operation(use, creation.rules())
    name = endpoint.replace("-", "_")

    @router.post(
        f"/v1/{endpoint}",
        name=f"make_ltx_{name}",
        summary=f"LTX API: {endpoint.replace('-', ' ')}, waiting for it",
        response_class=Response,
        responses={**MP4, **errors(500, 504, *REFUSALS)},
        openapi_extra=operation,
    )
    async def make(request: Request) -> Response:
        """Holds the connection until the MP4 is ready. Prefer version 2."""
        with contextlib.ExitStack() as waiting:
            task = await creation.create(request, use, waiting)
            task = await watcher.wait(task.id)
        return await _send_video(context, request, task)

    @router.post(
        f"/v2/{endpoint}",
        name=f"submit_ltx_{name}",
        status_code=202,
        summary=f"LTX API: {endpoint.replace('-', ' ')}",
        responses=errors(*REFUSALS),
        openapi_extra=operation,
    )
    async def submit(request: Request) -> LtxSubmitted:
        """Answers at once with a job to poll."""
        return submitted_of(await creation.create(request, use))


def _add_poll(router: APIRouter, context: AppContext) -> None:
    @router.get(
        "/v2/{endpoint}/{job_id}",
        summary="LTX API: poll a job",
        response_model_exclude_none=True,
        responses=errors(404, 503),
    )
    @context.read_threads.offload
    def get_ltx_job(
        endpoint: Annotated[
            str, Path(description="The endpoint of the submit.", json_schema_extra={"enum": list(ENDPOINTS)})
        ],
        job_id: Annotated[str, Path(examples=[EXAMPLE_ID])],
        request: Request,
    ) -> LtxJob:
        """Poll every 5 seconds until `status` is `completed` or `failed`."""
        task = get_owned_task(context, job_id, request_owner(request)) if TASK_ID_PATTERN.fullmatch(job_id) else None
        if task is None or not belongs_to(task, endpoint):
            raise NotFound(f"there is no job {job_id[:64]!r} of {endpoint[:64]}")
        return job_of(task, context.urls(request))


def _add_upload(router: APIRouter, context: AppContext) -> None:
    @router.post("/v1/upload", summary="LTX API: upload a file", responses=errors(429, 503))
    async def create_ltx_upload(request: Request) -> LtxUpload:
        """Send the file to `upload_url` by PUT within an hour. Then pass `storage_uri` as a `..._uri`, within a day."""
        await discard_body(request, context.settings)
        upload = await create_upload(context, request)
        expires_at = to_datetime(upload.expires_at)
        return LtxUpload(upload_url=upload.put_url, storage_uri=UPLOADS + upload.id, expires_at=expires_at)


async def _send_video(context: AppContext, request: Request, task: Task) -> Response:
    """Return the MP4 of a task that has ended, or an error that explains why it has no video."""
    if task.state == State.COMPLETED and task.output is not None:
        return await send_whole_file(context, task.output.key, f"{task.id}.mp4")
    failure = failure_of(task)
    message = "the video has no file" if failure is None else failure.message
    code = task.state if task.failure is None else task.failure.code
    status = 504 if code == TIMEOUT else 500 if task.state == State.FAILED else 409
    return error_response(request, status, ErrorBody(error=message, error_code=code))
