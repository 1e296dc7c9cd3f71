"""Reads the images that the arguments of a tool name: by a url, by an upload, by a video, or as a data url."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.mcp.argument_schemas import KEYFRAMES
from deployments.ingress.mcp.arguments import map_places
from deployments.ingress.request_body.data_url import WEB_URL, ImageUrl, decode_data_url, is_data_url
from deployments.ingress.request_body.given_images import GivenImages, SentImage
from deployments.ingress.source_task import read_last_frame
from deployments.ingress.uploads.access import UploadWords, read_upload
from models.errors import InvalidRequest
from models.request.places import END_IMAGE, IMAGE, KEYFRAME
from storage.tasks import TASK_ID_PATTERN

UPLOAD_ID = "up_"
ALLOWED = (
    "an http or https url, an upload_id of create_image_upload, a video_id, or a data url (data:image/jpeg;base64,...)"
)


@dataclass(frozen=True)
class NamedImage:
    """An image that an argument names. `name` is the argument's, such as keyframes[0].image."""

    field: str
    name: str
    text: str


def named_images(arguments: Mapping[str, Any]) -> list[NamedImage]:
    """The images that checked arguments name, in the order of the fields."""
    ends = [NamedImage(name, name, arguments.get(name, "").strip()) for name in (IMAGE, END_IMAGE)]
    keyframes = [
        NamedImage(KEYFRAME, f"{KEYFRAMES}[{index}].image", each["image"].strip())
        for index, each in enumerate(arguments.get(KEYFRAMES, ()))
    ]
    return [*(end for end in ends if end.text), *keyframes]


async def read_images(context: AppContext, arguments: Mapping[str, Any], request: Request) -> GivenImages:
    """Read all images. Raises InvalidRequest, ImageTooLarge."""
    sent = [
        SentImage(image.field, image.name, await _read(context, image, request)) for image in named_images(arguments)
    ]
    return GivenImages(await context.image_fetcher.fetch_all(sent), map_places(arguments))


async def _read(context: AppContext, image: NamedImage, request: Request) -> bytes | ImageUrl:
    if is_data_url(image.text):
        return await asyncio.to_thread(decode_data_url, image.name, image.text)
    if image.text.lower().startswith(WEB_URL):
        return ImageUrl(image.name, image.text)
    if image.text.startswith(UPLOAD_ID):
        return await read_upload(context, request, image.text, upload_words(image.name, "create_image_upload"))
    if TASK_ID_PATTERN.fullmatch(image.text):
        return await read_last_frame(context, request, image.text, image.name)
    raise InvalidRequest(image.name, image.text, ALLOWED)


def upload_words(name: str, tool: str) -> UploadWords:
    """How the tools name an upload, which `tool` creates."""
    return UploadWords(name, "an upload_id", tool)
