"""OpenAI's remix: a completed video is made anew from another prompt, and from as much of it as the client says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from deployments.ingress.context import AppContext
from deployments.ingress.errors import Conflict, Gone, NotFound, name_fields
from deployments.ingress.media_file import GivenMediaFile
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.model_names import ModelNames
from deployments.ingress.openai.body import remix_body
from deployments.ingress.openai.create import OK, REFUSALS, adjusted_by, in_client_words
from deployments.ingress.openai.finding import find_video, no_video, task_id_of
from deployments.ingress.openai.mapping import IMAGE_NAMES, Translated, merge_extra_body, translate
from deployments.ingress.openai.polling import POLL_HEADER, POLL_HEADERS, poll_after_ms
from deployments.ingress.openai.schemas import ANSWER, CreatedVideo, Video, errors, video_of, video_status
from deployments.ingress.request_body.given_images import NO_IMAGES
from deployments.ingress.request_body.given_media import VIDEO, GivenMedia, MediaUse, split_media_fields
from deployments.ingress.request_body.reading import read_long_json
from deployments.ingress.routes.generate import submit_given
from deployments.ingress.schemas import AdjustedField
from deployments.ingress.submission import IDEMPOTENCY_PARAMETER
from deployments.work_folder import work_folder
from models.errors import DoesNotFit, InvalidRequest
from models.request.adjustments import FROM_VIDEO
from models.request.loose_values import is_blank
from models.request.places import OTHER_IMAGES
from models.request.request import unknown_fields
from storage.tasks import Task

SHAPE = ("size", "seconds")
"""Fields of a create whose values follow from the video."""


@dataclass(frozen=True)
class RemixRequest:
    """What the client sent: the translated fields, those of the change, and the shape, which does not count."""

    translated: Translated
    own: Mapping[str, object]
    shape: Mapping[str, object]

    def adjusted(self, task: Task, video: Video) -> list[AdjustedField]:
        """What the answer says about fields that do not count as they were given."""
        return [*adjusted_by(self.translated, task), *self._shaped(video)]

    def _shaped(self, video: Video) -> Iterator[AdjustedField]:
        for name, given in self.shape.items():
            if str(given) != (used := getattr(video, name)):
                yield AdjustedField(field=name, given=str(given), used=used, reason=FROM_VIDEO)


def remix_router(context: AppContext, models: ModelNames) -> APIRouter:
    """Create the router of the one route."""
    router = APIRouter(tags=["openai"])
    kept_s = context.settings.retention.output_ttl_s

    @router.post(
        "/v1/videos/{video_id}/remix",
        summary="Remix a video",
        responses={OK: {**ANSWER[OK], "headers": POLL_HEADERS}, **errors(404, 409, 410, *REFUSALS)},
        openapi_extra={
            "parameters": [IDEMPOTENCY_PARAMETER],
            "requestBody": remix_body(models, context.settings.limits),
        },
    )
    async def remix_video(video_id: str, request: Request, response: Response) -> CreatedVideo:
        """Makes a completed video anew from another prompt. Size and length stay.

        How much of it stays says `video_strength`.
        """
        given = _translate(await read_long_json(request, context.settings, ()), models, context)
        name_fields(request, {**given.translated.names, VIDEO: "video_id"})
        with work_folder() as folder:
            task = await _submit(context, request, video_id, given, folder)
        response.headers[POLL_HEADER] = str(await context.read_threads.run(poll_after_ms, context, task))
        video = video_of(task, kept_s)
        return CreatedVideo(
            **video.model_dump(),
            ignored=unknown_fields(given.translated.fields),
            adjusted=given.adjusted(task, video),
        )

    return router


def _translate(fields: Mapping[str, object], models: ModelNames, context: AppContext) -> RemixRequest:
    """The fields under this server's names. Raises InvalidRequest, also for an image."""
    merged = merge_extra_body(fields)
    for name in (*IMAGE_NAMES.in_json, *OTHER_IMAGES):
        if not is_blank(merged.get(name)):
            raise InvalidRequest(name, merged[name], "left out: a remix starts from the video")
    shape = {name: value for name in SHAPE if not is_blank(value := merged.pop(name, None))}
    translated = translate(merged, models, context.settings.limits)
    own, _ = split_media_fields(MediaUse.V2V, translated.fields)
    for name in (*MediaUse.V2V.fields, *MediaUse.V2V.decided):
        translated.fields.pop(name, None)
    return RemixRequest(translated, own, shape)


async def _submit(context: AppContext, request: Request, video_id: str, given: RemixRequest, folder: Path) -> Task:
    """Create the task. Its errors name the video."""
    media = GivenMedia(MediaUse.V2V, task_id=task_id_of(video_id), fields=given.own)
    try:
        return await submit_given(context, request, given.translated.fields, NO_IMAGES, GivenMediaFile(media, folder))
    except NotFound:
        raise no_video(video_id) from None
    except Gone:
        raise Gone(f"the file of {video_id} was removed") from None
    except Conflict:
        task = await context.read_threads.run(find_video, context, video_id, request_owner(request))
        why = f"{video_id} cannot be remixed: its status is {video_status(task.state)}"
        raise Conflict(why) from None
    except DoesNotFit as error:
        raise in_client_words(error, given.translated) from None
