"""The body of a request, read within bounds of size and time: JSON fields, or a form with a picture."""

import asyncio
import json

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from deployments.ingress.errors import TooLarge, TooSlow
from deployments.settings import Settings
from models.errors import InvalidRequest
from models.request import VideoRequest

MAX_FIELDS_BYTES = 256 * 1024
"""Bound on everything in a body that is not the picture: two prompts of the longest kind, many times over."""
MAX_FORM_FIELDS = 100
PACKED = frozenset({"br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})
"""Codings that would have to be undone. Other words there, such as `utf-8`, do no harm."""


async def read_json(request: Request, settings: Settings) -> tuple[dict[str, object], None]:
    """Read the fields of a JSON object. Raises InvalidRequest, TooLarge, TooSlow."""
    content = await _bounded(request, MAX_FIELDS_BYTES, settings.ingress.max_body_s).body()
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("body", content[:60].decode(errors="replace"), f"JSON ({error})") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("body", fields, "a JSON object")
    return fields, None


async def read_form(
    request: Request, settings: Settings, picture: str = "image", *, optional: bool = False
) -> tuple[dict[str, object], bytes | None]:
    """Read the fields and the picture of a form; None where it is optional and missing.

    Raises InvalidRequest, TooLarge, TooSlow.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise InvalidRequest("body", kind, "multipart/form-data with the fields prompt and image")
    bounded = _bounded(request, settings.limits.max_image_bytes + MAX_FIELDS_BYTES, settings.ingress.max_body_s)
    try:
        async with bounded.form(max_files=2, max_fields=MAX_FORM_FIELDS, max_part_size=MAX_FIELDS_BYTES) as form:
            return _form_fields(form, picture), await _picture(form, picture, optional=optional)
    except HTTPException as error:
        if error.status_code != 400:  # noqa: PLR2004
            raise
        raise InvalidRequest("body", kind, f"well-formed multipart/form-data ({error.detail})") from None


async def read_any(
    request: Request, settings: Settings, picture: str = "image"
) -> tuple[dict[str, object], bytes | None]:
    """Read a form, with a picture or without, or else a JSON object. Raises as these do."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await read_form(request, settings, picture, optional=True)
    return await read_json(request, settings)


def _form_fields(form: FormData, picture: str) -> dict[str, object]:
    """The fields as text. An empty seed, timeout_s or webhook_url, or the word null, means null."""
    fields: dict[str, object] = {name: value for name, value in form.items() if name != picture}
    for name, value in fields.items():
        if isinstance(value, UploadFile) and name in VideoRequest.model_fields:
            raise InvalidRequest(name, f"a file named {value.filename}", "a plain field, not a file")
    for name in ("seed", "timeout_s", "webhook_url"):
        if fields.get(name) in ("", "null"):
            fields[name] = None
    return fields


async def _picture(form: FormData, name: str, *, optional: bool) -> bytes | None:
    picture = form.get(name)
    if isinstance(picture, UploadFile):
        return await picture.read()
    if optional and not picture:
        return None
    given = None if picture is None else f"the text {picture[:40]!r}"
    raise InvalidRequest(name, given, "a file: JPEG, PNG, WebP or GIF")


def _bounded(request: Request, max_bytes: int, max_s: float) -> Request:
    """The same request, whose body ends with TooLarge once it passes `max_bytes`, and with TooSlow after `max_s`."""
    coding = request.headers.get("content-encoding", "")
    if not PACKED.isdisjoint(coding.lower().replace(" ", "").split(",")):
        raise InvalidRequest("Content-Encoding", coding, "left out: a body is taken as it is")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise TooLarge(f"{declared} bytes", max_bytes)
    received = 0
    deadline = asyncio.get_running_loop().time() + max_s

    async def receive() -> Message:
        nonlocal received
        try:
            async with asyncio.timeout_at(deadline):
                message = await request.receive()
        except TimeoutError:
            raise TooSlow(f"the body was not complete after {max_s:g} s") from None
        if message["type"] == "http.disconnect":
            raise InvalidRequest("body", f"{received} bytes and no end", "sent to its end")  # nobody hears it
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise TooLarge("more than that", max_bytes)
        return message

    return Request(request.scope, receive)
