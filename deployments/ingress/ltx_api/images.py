"""Reads an image that a request names by `image_uri` or `last_frame_uri`.

It is an upload, a data url, a file of this server, or a url.
"""

import asyncio
from urllib.parse import parse_qs

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.errors import Forbidden, NotFound
from deployments.ingress.media.fetching import is_own_file
from deployments.ingress.middleware.auth import Unauthorized
from deployments.ingress.request_body.data_url import WEB_URL, ImageUrl, decode_data_url, is_data_url
from deployments.ingress.routes.outputs import FILENAME, KIND, TASK_ID, admit, make_derived
from deployments.ingress.uploads.access import UploadWords, read_upload
from deployments.ingress.uploads.tickets import TICKET_TTL_S
from models.errors import InvalidRequest
from models.request.json_words import NOTHING, Described
from models.request.request import MAX_URL_CHARS
from storage.outputs.store import DerivedFile

UPLOADS = "ltx://uploads/"
USABLE_S = 24 * 3600
"""How long an upload can be used, from its start. The retention then removes its file."""
MAX_QUERY_FIELDS = 16
ALLOWED = "a storage_uri of /v1/upload, an http or https url, or a data url (data:image/jpeg;base64,...)"


async def read_image(context: AppContext, request: Request, name: str, given: object) -> bytes:
    """Return the bytes of the image that the field `name` names. Raises InvalidRequest, ImageTooLarge."""
    uri = parse_uri(name, given, ALLOWED)
    if is_data_url(uri):
        return await asyncio.to_thread(decode_data_url, name, uri)
    if uri.startswith(UPLOADS):
        return await read_upload(context, request, uri.removeprefix(UPLOADS), upload_words(name))
    if is_own_file(context, request, uri):
        return await _read_own_file(context, request, name, uri)
    if uri.lower().startswith(WEB_URL):
        return await context.image_fetcher.fetch(ImageUrl(name, uri))
    raise InvalidRequest(name, uri, ALLOWED)


def parse_uri(name: str, given: object, allowed: str) -> str:
    """The uri in a field. Only a data url may be long. Raises InvalidRequest, which says what is `allowed`."""
    if not isinstance(given, str) or not given.strip():
        raise InvalidRequest(name, NOTHING if given is None else given, allowed)
    uri = given.strip()
    if len(uri) > MAX_URL_CHARS and not is_data_url(uri):
        raise InvalidRequest(name, Described(f"a text of {len(uri)} characters"), allowed)
    return uri


def upload_words(name: str) -> UploadWords:
    """How this API names an upload."""
    return UploadWords(name, "a storage_uri", "/v1/upload", USABLE_S - TICKET_TTL_S)


async def _read_own_file(context: AppContext, request: Request, name: str, uri: str) -> bytes:
    """Return a poster or a last frame of this server. Who may download it may use it. Raises InvalidRequest."""
    refused = InvalidRequest(name, uri, "the poster_url or the downloads.last_frame of a video of yours")
    path, _, query = uri.partition("?")
    filename = path.rpartition("/")[2]
    if not FILENAME.fullmatch(filename) or filename[KIND] not in ("jpg", DerivedFile.LAST_FRAME):
        raise refused
    try:
        if context.settings.api_keys:
            asked = parse_qs(query, max_num_fields=MAX_QUERY_FIELDS)
            signed = asked.get("expires", [""])[0], asked.get("signature", [""])[0]
            await context.read_threads.run(admit, context, filename, request, signed)
        key = f"outputs/{filename}"
        if filename[KIND] == DerivedFile.LAST_FRAME and await context.reads.stat(key) is None:
            await make_derived(context, filename[TASK_ID], DerivedFile.LAST_FRAME)
        return await context.file_threads.run(_read_whole, context, key)
    except (NotFound, Forbidden, Unauthorized, FileNotFoundError, ValueError):
        raise refused from None


def _read_whole(context: AppContext, key: str) -> bytes:
    return b"".join(context.outputs.open(key))
