"""Reads the image that a request names by `image_uri`: an upload, a data url, a file of this server, or a url."""

import asyncio
from urllib.parse import parse_qs

from fastapi import Request
from starlette.exceptions import HTTPException

from deployments.ingress.context import AppContext
from deployments.ingress.ltx_api.mapping import IMAGE
from deployments.ingress.request_body.data_url import ImageUrl, decode_data_url
from deployments.ingress.routes.outputs import FILENAME, admit
from deployments.ingress.uploads.access import UploadWords, read_upload
from deployments.ingress.uploads.tickets import TICKET_TTL_S
from models.errors import InvalidRequest
from models.request.json_words import NOTHING

UPLOADS = "ltx://uploads/"
USABLE_S = 24 * 3600
"""How long an upload can be used, from its start. The retention then removes its file."""
WORDS = UploadWords(IMAGE, "a storage_uri", "/v1/upload", USABLE_S - TICKET_TTL_S)
WEB_URL = ("http://", "https://")
ALLOWED = "a storage_uri of /v1/upload, an http or https url, or a data url (data:image/jpeg;base64,...)"


async def read_image(context: AppContext, request: Request, given: object) -> bytes:
    """Return the bytes of the image. Raises InvalidRequest, ImageTooLarge."""
    if not isinstance(given, str) or not given.strip():
        raise InvalidRequest(IMAGE, NOTHING if given is None else given, ALLOWED)
    uri = given.strip()
    if uri[:5].lower() == "data:":
        return await asyncio.to_thread(decode_data_url, IMAGE, uri)
    if uri.startswith(UPLOADS):
        return await read_upload(context, request, uri.removeprefix(UPLOADS), WORDS)
    if uri.startswith(f"{context.base_url(request)}/outputs/"):
        return await context.file_threads.run(_read_own_file, context, request, uri)
    if uri.lower().startswith(WEB_URL):
        return await context.image_fetcher.fetch(ImageUrl(IMAGE, uri))
    raise InvalidRequest(IMAGE, uri, ALLOWED)


def _read_own_file(context: AppContext, request: Request, uri: str) -> bytes:
    """Return a poster of this server, from the store. Who may download it may use it. Blocks on the stores."""
    refused = InvalidRequest(IMAGE, uri, "the poster_url of a video of yours")
    try:
        path, _, query = uri.partition("?")
        filename, asked = path.rpartition("/")[2], parse_qs(query)
        if not FILENAME.fullmatch(filename) or not filename.endswith(".jpg"):
            raise refused
        if context.settings.api_keys:
            signed = asked.get("expires", [""])[0], asked.get("signature", [""])[0]
            admit(context, filename, request, signed)
        return b"".join(context.outputs.open(f"outputs/{filename}"))
    except (HTTPException, FileNotFoundError, ValueError):
        raise refused from None
