"""Reads an audio or a video that a text names, and knows the urls of this server's own videos."""

import asyncio

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.images.fetching import Fetched
from deployments.ingress.request_body.data_url import WEB_URL, ImageUrl, decode_data_url, is_data_url
from deployments.ingress.request_body.given_media import MediaUse
from deployments.ingress.request_body.media_reading import max_file_bytes
from deployments.ingress.routes.outputs import FILENAME, KIND, TASK_ID
from deployments.ingress.uploads.access import UploadWords, read_upload
from models.errors import FileTooLarge, InvalidRequest

FETCH_TIMEOUT_S = 60.0
"""A video is larger than an image, for which 10 s are enough."""


async def read_named(
    context: AppContext,
    request: Request,
    use: MediaUse,
    text: str,
    *,
    upload_id: str | None,
    words: UploadWords,
    allowed: str,
) -> bytes:
    """Return the file in the text of the field `words.field`: a data url, a url, or an upload that has `upload_id`.

    Raises InvalidRequest, which says what is `allowed`, and FileTooLarge.
    """
    if is_data_url(text):
        return await asyncio.to_thread(decode_data_url, words.field, text, allowed)
    if upload_id is not None:
        return await read_upload(context, request, upload_id, words)
    if text.lower().startswith(WEB_URL):
        return await _fetch(context, use, words.field, text)
    raise InvalidRequest(words.field, text, allowed)


async def _fetch(context: AppContext, use: MediaUse, name: str, url: str) -> bytes:
    what = f"{'an audio' if use is MediaUse.A2V else 'a video'} that this server can fetch"
    most = max_file_bytes(use, context.settings.limits)
    kind = Fetched(what, f"{use.file_field}/*", most, FileTooLarge, FETCH_TIMEOUT_S)
    return await context.image_fetcher.fetch(ImageUrl(name, url), kind)


def is_own_file(context: AppContext, request: Request, url: str) -> bool:
    """Whether a url is that of a file of this server. The guard of fetched urls may refuse its address."""
    return url.startswith(f"{context.base_url(request)}/outputs/")


def task_of_video(url: str) -> str | None:
    """The id of the task whose MP4 a url of this server names; None for other files."""
    filename = url.partition("?")[0].rpartition("/")[2]
    return filename[TASK_ID] if FILENAME.fullmatch(filename) and filename[KIND] == "mp4" else None
