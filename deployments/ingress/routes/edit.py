"""The routes that make a video from audio, from a video or from a control video, and those that change a video."""

import contextlib
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deployments.ingress.concurrency.limits import upload_slot
from deployments.ingress.context import AppContext
from deployments.ingress.media_file import GivenMediaFile
from deployments.ingress.request_body.given_media import MediaUse
from deployments.ingress.request_body.media_fields import media_body
from deployments.ingress.request_body.media_reading import read_media
from deployments.ingress.routes.generate import (
    REFUSALS,
    SOURCE_REFUSALS,
    SOURCE_STATUS_BY_END,
    STATUS_BY_END,
    CompletedTask,
    answer_submit,
    wait_for_task,
)
from deployments.ingress.schemas import Submitted
from deployments.ingress.submission import IDEMPOTENCY_PARAMETER
from deployments.ingress.task_watcher import TaskWatcher
from deployments.work_folder import work_folder
from models.request.json_schema import request_schema

SUMMARIES = {
    MediaUse.A2V: "Audio to video",
    MediaUse.RETAKE: "Make a part of a video anew",
    MediaUse.EXTEND: "Make a video longer",
    MediaUse.V2V: "Video to video",
    MediaUse.CONTROL: "Control video to video",
}
ABOUT = {
    MediaUse.A2V: "The video follows the audio, which is in the MP4 as you gave it.",
    MediaUse.RETAKE: "Frames and audio outside the window are those of the source.",
    MediaUse.EXTEND: "The result is the whole, old and new.",
    MediaUse.V2V: "The whole video is made anew, from the prompt and from as much of the video as you say.",
    MediaUse.CONTROL: "The new video follows the control video, with an IC-LoRA that `loras` picks.",
}
NAMES = {
    MediaUse.A2V: "audio_to_video",
    MediaUse.RETAKE: "retake",
    MediaUse.EXTEND: "extend",
    MediaUse.V2V: "video_to_video",
    MediaUse.CONTROL: "control_video",
}


def edit_router(context: AppContext, watcher: TaskWatcher) -> APIRouter:
    """Create the router: two routes for each use."""
    router = APIRouter(tags=["video"])
    for use in MediaUse:
        _add_routes(router, context, watcher, use)
    return router


def _add_routes(router: APIRouter, context: AppContext, watcher: TaskWatcher, use: MediaUse) -> None:
    with_source = use is not MediaUse.A2V
    refusals, ends = (SOURCE_REFUSALS, SOURCE_STATUS_BY_END) if with_source else (REFUSALS, STATUS_BY_END)
    body = _body(context, use)

    @router.post(
        f"/v1/video/async_{use}",
        name=f"submit_{NAMES[use]}",
        summary=SUMMARIES[use],
        description=f"Answers at once with a task to poll. {ABOUT[use]}",
        response_model=Submitted,
        responses=refusals,
        openapi_extra=body,
    )
    async def submit(request: Request) -> Submitted:
        with upload_slot(context.uploads, request), work_folder() as folder:
            fields, images, given = await read_media(request, context.settings, use, folder)
            return await answer_submit(context, request, fields, images, GivenMediaFile(given, folder))

    @router.post(
        f"/v1/video/{use}",
        name=f"make_{NAMES[use]}",
        summary=f"{SUMMARIES[use]}, waiting for it",
        description=f"Holds the connection until the video is done. {ABOUT[use]} Prefer the asynchronous route.",
        response_model=CompletedTask,
        responses={**refusals, **ends},
        openapi_extra=body,
    )
    async def make(request: Request) -> JSONResponse:
        with contextlib.ExitStack() as held:
            with upload_slot(context.uploads, request), work_folder() as folder:
                fields, images, given = await read_media(request, context.settings, use, folder)
                held.enter_context(context.sync_requests.acquire())
                submitted = await answer_submit(context, request, fields, images, GivenMediaFile(given, folder))
            return await wait_for_task(context, request, watcher, submitted)


def _body(context: AppContext, use: MediaUse) -> dict[str, Any]:
    limits, generator = context.settings.limits, context.settings.generator
    loras = generator.known_loras if use is MediaUse.CONTROL else generator.plain_loras
    content = media_body(request_schema(limits, loras=loras), use, limits)
    return {"parameters": [IDEMPOTENCY_PARAMETER], "requestBody": {"required": True, "content": content}}
