"""Maps the arguments of estimate_video to the fields of an estimate. No audio and no video is read."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.mcp.argument_schemas import EDIT_ARGUMENTS, OPERATIONS
from deployments.ingress.mcp.arguments import (
    SECONDS,
    MappedRequest,
    map_media,
    map_request,
    media_use,
    refuse_audio_fields,
    refuse_control_loras,
    refuse_given,
    refuse_images,
)
from deployments.ingress.mcp.media import named_task
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.request_body.given_media import AUDIO, USE, VIDEO, MediaUse
from deployments.ingress.source_task import completed_task
from models.errors import InvalidRequest
from models.request.json_words import NOTHING
from models.request.request import RequestLimits
from storage.tasks import Task

OPERATION = "operation"
FOR_NEW_VIDEOS = ("size", AUDIO)
"""Arguments that edit_video does not have."""


async def map_estimate(
    context: AppContext, request: Request, arguments: Mapping[str, Any], defaults: Mapping[str, float]
) -> MappedRequest:
    """The fields of an estimate. Those of an edit have the size and the length of its result.

    Raises InvalidRequest, and NotFound, Conflict or Gone for a video that cannot be edited.
    """
    limits, use = context.settings.limits, media_use(arguments)
    refuse_control_loras(use, arguments, context.settings.generator.known_loras)
    if use is None or use is MediaUse.A2V:
        return _map_new_video(use, arguments, defaults, limits)
    refuse_given(arguments, FOR_NEW_VIDEOS, f"there is a {VIDEO}")
    refuse_images(use, arguments)
    own = map_media(use, arguments)
    source = await context.read_threads.run(_source, context, request, arguments)
    mapped = map_request(arguments, defaults, limits)
    fields = {**mapped.fields, **_result(source, use, arguments), USE: use, **own}
    return MappedRequest(fields, mapped.adjusted, source.rendered_request.frame_rate)


def _map_new_video(
    use: MediaUse | None, arguments: Mapping[str, Any], defaults: Mapping[str, float], limits: RequestLimits
) -> MappedRequest:
    """Without its audio, from which the length would follow."""
    refuse_given(arguments, EDIT_ARGUMENTS, f"there is no {OPERATION}")
    mapped = map_request({name: value for name, value in arguments.items() if name != AUDIO}, defaults, limits)
    if use is None:
        refuse_audio_fields(arguments)
        return mapped
    return MappedRequest({**mapped.fields, USE: use, **map_media(use, arguments)}, mapped.adjusted)


def _source(context: AppContext, request: Request, arguments: Mapping[str, Any]) -> Task:
    """The completed video that the arguments name. Blocks on the store."""
    given = arguments.get(VIDEO)
    task_id = None if given is None else named_task(context, request, given.strip())
    if task_id is None:
        raise InvalidRequest(VIDEO, NOTHING if given is None else given, "a video_id: other videos are not read here")
    return completed_task(context, task_id, request_owner(request), VIDEO)


def _result(source: Task, use: MediaUse, arguments: Mapping[str, Any]) -> dict[str, object]:
    """Size, rate and length of the video that the edit would make."""
    rendered = source.rendered_request
    rate = rendered.exact_frame_rate
    length_s = rendered.duration_s if source.output is None else source.output.duration_s
    added_s = arguments.get(SECONDS, 0.0) if use is OPERATIONS["extend"] else 0.0
    num_frames = round(length_s * rate) + round(added_s * rate)
    shape = {"width": rendered.width, "height": rendered.height, "frame_rate": rendered.frame_rate}
    return {**shape, "num_frames": num_frames}
