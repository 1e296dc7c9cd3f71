"""OpenAI's video API over the same tasks. Clients of vLLM-Omni and SGLang use this API too."""

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotFound
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.model_names import ModelNames
from deployments.ingress.openai.create import create_router
from deployments.ingress.openai.finding import VIDEO_ID, find_video, no_video, task_id_of
from deployments.ingress.openai.polling import POLL_HEADER, POLL_HEADERS, poll_after_ms
from deployments.ingress.openai.remix import remix_router
from deployments.ingress.openai.schemas import (
    ANSWER,
    EXAMPLE,
    ModelList,
    ServedLora,
    ServedModel,
    Video,
    VideoDeleted,
    VideoPage,
    errors,
    video_of,
    video_status,
)
from deployments.ingress.openai.unsupported import unsupported_router
from deployments.ingress.routes.delete_task import cancel_or_delete_task
from deployments.ingress.routes.list_tasks import LISTED, MAX_PAGE
from deployments.ingress.routes.outputs import FILE_RESPONSES, deliver, deliver_derived
from deployments.ingress.routes.tasks import get_owned_task
from deployments.ingress.task_watcher import TaskWatcher
from models.errors import InvalidRequest
from storage.outputs.store import DerivedFile
from storage.tasks import State

PAGE = {"object": "list", "data": [EXAMPLE], "first_id": EXAMPLE["id"], "last_id": EXAMPLE["id"], "has_more": False}
DELETED = {"id": EXAMPLE["id"], "object": "video.deleted", "deleted": True}
MODEL = {
    "id": "Lightricks/LTX-2",
    "object": "model",
    "created": 1790000000,
    "owned_by": "Lightricks",
    "root": "Lightricks/LTX-2",
    "loras": [{"name": "dolly_in", "trigger": "", "max_scale": 2.0, "control": None}],
}


def openai_router(context: AppContext, watcher: TaskWatcher) -> APIRouter:
    """Create the router of /v1/videos and /v1/models."""
    router = APIRouter(tags=["openai"])
    models = ModelNames(context.model, context.settings.ingress.model_aliases)
    router.include_router(create_router(context, models, watcher))
    router.include_router(remix_router(context, models))
    router.include_router(unsupported_router(context))
    _add_reads(router, context)
    _add_content(router, context)
    _add_models(router, context, models)
    return router


def _add_reads(router: APIRouter, context: AppContext) -> None:
    kept_s = context.settings.retention.output_ttl_s

    @router.get("/v1/videos", summary="List videos", responses={**_example(PAGE), **errors(422, 503)})
    @context.read_threads.offload
    def list_videos(
        request: Request,
        after: Annotated[str | None, Query(description="`last_id` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Videos on a page.")] = 20,
        order: Annotated[Literal["asc", "desc"], Query(description="desc is newest first.")] = "desc",
    ) -> VideoPage:
        """Videos of all routes. Deleted videos are left out; with API keys, so are the videos of other keys."""
        owner = request_owner(request)
        beyond = _sequence(context, after, owner) if after is not None else None
        found = context.tasks.page(LISTED, limit + 1, beyond, oldest_first=order == "asc", owner=owner)
        data = [video_of(task, kept_s) for task in found[:limit]]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return VideoPage(data=data, first_id=first, last_id=last, has_more=len(found) > limit)

    @router.get(
        "/v1/videos/{video_id}",
        summary="Retrieve a video",
        responses={200: {**ANSWER[200], "headers": POLL_HEADERS}, **errors(404, 503)},
    )
    @context.read_threads.offload
    def get_video(video_id: str, request: Request, response: Response) -> Video:
        """Poll until `status` is `completed` or `failed`."""
        task = find_video(context, video_id, request_owner(request))
        if not task.is_finished:
            response.headers[POLL_HEADER] = str(poll_after_ms(context, task))
        return video_of(task, kept_s)

    @router.delete(
        "/v1/videos/{video_id}", summary="Delete a video", responses={**_example(DELETED), **errors(404, 503)}
    )
    @context.delete_threads.offload
    def delete_video(video_id: str, request: Request) -> VideoDeleted:
        """Deletes the video with its files; cancels it first if it has not ended. Repeating the request is safe."""
        task_id, owner = task_id_of(video_id), request_owner(request)
        removed = cancel_or_delete_task(context, task_id, owner)
        if removed is not None and removed.outcome == "canceled":
            removed = cancel_or_delete_task(context, task_id, owner)
        if removed is None:
            raise no_video(video_id)
        return VideoDeleted(id=video_id)


def _add_content(router: APIRouter, context: AppContext) -> None:
    @router.head("/v1/videos/{video_id}/content", include_in_schema=False)
    @router.get(
        "/v1/videos/{video_id}/content",
        summary="Download a video, its thumbnail or its spritesheet",
        response_class=Response,
        responses={**FILE_RESPONSES, **errors(404, 412, 416, 422, 500, 503, 507)},
    )
    async def download_video(
        video_id: str,
        request: Request,
        variant: Annotated[
            Literal["video", "thumbnail", "spritesheet"],
            Query(description="The MP4, a small JPEG of one frame, or a JPEG of 5 x 5 frames."),
        ] = "video",
    ) -> Response:
        """With Range and ETag. A 404 while the video is not completed."""
        task = await context.read_threads.run(find_video, context, video_id, request_owner(request))
        if task.state != State.COMPLETED or task.output is None:
            raise NotFound(f"{video_id} has no content: its status is {video_status(task.state)}")
        if variant == "video":
            return await deliver(context, task.output.key, f"{video_id}.mp4", request)
        kind = DerivedFile(f"{variant}.jpg")
        return await deliver_derived(context, task.id, kind, f"{video_id}.{kind}", request)


def _add_models(router: APIRouter, context: AppContext, models: ModelNames) -> None:
    known = context.settings.generator.known_loras
    loras = [
        ServedLora(name=name, trigger=each.trigger, max_scale=each.max_scale, control=each.control)
        for name, each in known.items()
    ]
    owner, _, rest = models.served.partition("/")
    created, owned_by = int(time.time()), owner if rest else "local"

    def describe(*names: str) -> list[ServedModel]:
        shared: dict[str, Any] = {"created": created, "owned_by": owned_by, "root": models.served, "loras": loras}
        can = context.model_info.can_upscale()
        return [ServedModel(id=name, upscale=can, **shared) for name in names]

    @router.get("/v1/models", summary="List models", responses=_example({"object": "list", "data": [MODEL]}))
    async def list_models() -> ModelList:
        """The one model that is served, its aliases, and its LoRAs."""
        return ModelList(data=await context.read_threads.run(describe, *models.listed))

    @router.get("/v1/models/{model_id:path}", summary="Retrieve a model", responses={**_example(MODEL), **errors(404)})
    async def get_model(model_id: str) -> ServedModel:
        """The name may contain a slash, plain or as %2F."""
        if not models.accepts(model_id):
            raise NotFound(f"there is no model {model_id[:64]!r}; {models.served} is served")
        return (await context.read_threads.run(describe, model_id))[0]


def _sequence(context: AppContext, after: str, owner: str | None) -> int:
    """The sequence number after which a page starts. The id of a deleted video still works."""
    found = VIDEO_ID.fullmatch(after)
    task = get_owned_task(context, found[1], owner) if found else None
    if task is None:
        raise InvalidRequest("after", after, "the id of a video")
    return task.sequence


def _example(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}}
