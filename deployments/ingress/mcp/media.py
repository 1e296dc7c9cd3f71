"""Reads the audio or the video that the arguments of a tool name: by a url, an upload or a video, or as a data url."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.mcp.arguments import map_media
from deployments.ingress.mcp.images import UPLOAD_ID, upload_words
from deployments.ingress.media.fetching import is_own_file, read_named, task_of_video
from deployments.ingress.media_file import GivenMediaFile
from deployments.ingress.request_body.given_media import GivenMedia, MediaUse
from deployments.ingress.request_body.media_reading import write_file
from storage.tasks import TASK_ID_PATTERN

ALLOWED = (
    "an http or https url, an upload_id of create_media_upload{or_video}, or a data url (data:{kind}/...;base64,...)"
)


async def read_media(
    context: AppContext, request: Request, use: MediaUse, arguments: Mapping[str, Any], folder: Path
) -> GivenMediaFile:
    """Write the file that the arguments name into `folder`. A video of this server stays a task.

    Raises InvalidRequest, FileTooLarge.
    """
    name, own = use.file_field, map_media(use, arguments)
    text = arguments[name].strip()
    task_id = None if use is MediaUse.A2V else named_task(context, request, text)
    if task_id is not None:
        return GivenMediaFile(GivenMedia(use, task_id=task_id, fields=own), folder, source_name=name)
    content = await read_named(
        context,
        request,
        use,
        text,
        upload_id=text if text.startswith(UPLOAD_ID) else None,
        words=upload_words(name, "create_media_upload"),
        allowed=ALLOWED.format(kind=name, or_video="" if use is MediaUse.A2V else ", a video_id"),
    )
    target = folder / name
    digest = await asyncio.to_thread(write_file, use, content, target, context.settings.limits)
    return GivenMediaFile(GivenMedia(use, target, digest, fields=own), folder)


def named_task(context: AppContext, request: Request, text: str) -> str | None:
    """The id of the task that a text names, as its id or as the url of its video."""
    if TASK_ID_PATTERN.fullmatch(text):
        return text
    return task_of_video(text) if is_own_file(context, request, text) else None
