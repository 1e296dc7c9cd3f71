"""Reads the body of a request, within limits of size and time: JSON or a form, with images or without."""

import asyncio
import contextlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.types import Message

from deployments.ingress.errors import PayloadTooLarge, RequestTimeout
from deployments.ingress.request_body.data_url import ImageUrl, image_in_fields, refuse_url
from deployments.ingress.request_body.form import form_fields, form_images, parse_form
from deployments.ingress.request_body.given_images import GivenImages, SentImage, max_images_bytes, take_places
from deployments.ingress.request_body.long_texts import RemainderTooLarge, spell_out, split_long_texts
from deployments.settings import Settings
from models.errors import InvalidRequest
from models.request.json_words import Described
from models.request.places import IMAGE, KEYFRAME, MAX_IMAGES, MAX_KEYFRAMES, OTHER_IMAGES, REPEATED

MAX_FIELDS_BYTES = 256 * 1024
"""Limit for everything in a body except the image: many times the size of two prompts of the greatest length."""
PACKED = frozenset({"br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})
"""Content codings that the server refuses, because it decodes none. Other values, such as `utf-8`, do no harm."""
FORM = "multipart/form-data"
NO_JSON = ("multipart/", "image/", "video/", "audio/", "application/octet-stream")
"""Content types that are certainly not JSON. Others are tried, because `curl -d` declares its JSON as a form."""
ONLY_JSON = "JSON: this route takes JSON; images go to /v1/video/async_i2v"
OBJECT_KEYS = ("image_url", "url")
"""The keys of an object that names an image."""
FORM_OR_JSON = "multipart/form-data with the fields prompt and {image}, or JSON with {image} as a data url"


@dataclass(frozen=True)
class ImageNames:
    """The field names under which a route accepts the first image. The first one with an image counts.

    The other images have one name on all routes.
    """

    in_form: tuple[str, ...] = (IMAGE,)
    in_json: tuple[str, ...] = (IMAGE,)


OWN_NAMES = ImageNames()


async def read_json(request: Request, settings: Settings) -> tuple[dict[str, object], None]:
    """Read a JSON object for a route without an image. Raises InvalidRequest, PayloadTooLarge, RequestTimeout."""
    check_kind(request, ONLY_JSON)
    bounded = bounded_body(request, MAX_FIELDS_BYTES, settings.ingress.body_timeout_s)
    return _parse_object(request, bytes(await read_all(bounded)), ONLY_JSON), None


async def read_images(request: Request, settings: Settings) -> tuple[dict[str, object], GivenImages]:
    """Read a form or JSON object with the images that a video is made from. Fetches no URLs.

    Raises InvalidRequest, PayloadTooLarge, RequestTimeout.
    """
    fields, images = await read_sent_images(request, settings)
    return split_places(fields, [(image.field, image.content) for image in images])


async def read_sent_images(
    request: Request, settings: Settings, names: ImageNames = OWN_NAMES
) -> tuple[dict[str, object], list[SentImage]]:
    """Read a form or JSON object with images, of which some may be URLs. The fields of their places stay in it.

    All images together have the bound of a body with one image. Raises InvalidRequest, PayloadTooLarge, RequestTimeout.
    """
    allowed = FORM_OR_JSON.format(image=names.in_form[0])
    is_form, bounded = _bounded_with_image(request, settings, allowed)
    if is_form:
        return await _read_form(bounded, names.in_form, settings.limits.max_image_bytes)
    content = await read_all(bounded)
    long_texts = (*names.in_json, *OTHER_IMAGES)
    return await asyncio.to_thread(
        lambda: take_sent_images(parse_fields(bounded, content, long_texts, allowed, MAX_IMAGES), names)
    )


def _bounded_with_image(request: Request, settings: Settings, allowed: str) -> tuple[bool, Request]:
    """Whether a body that may have an image is a form, and the request with its limits."""
    is_form = request.headers.get("content-type", "").lower().startswith(FORM)
    if not is_form:
        check_kind(request, allowed)
    return is_form, bounded_body(request, max_body_bytes(settings), settings.ingress.body_timeout_s)


async def read_long_json(request: Request, settings: Settings, long_texts: tuple[str, ...]) -> dict[str, object]:
    """Read a JSON object. A field of `long_texts` may hold a file as a data URL, which is left as it is.

    Raises InvalidRequest, PayloadTooLarge, RequestTimeout.
    """
    check_kind(request, "JSON")
    max_bytes = max_body_bytes(settings) if long_texts else MAX_FIELDS_BYTES
    content = await read_all(bounded_body(request, max_bytes, settings.ingress.body_timeout_s))
    if len(content) <= MAX_FIELDS_BYTES:
        return _parse_object(request, bytes(content), "JSON")
    most = len(long_texts) + (MAX_KEYFRAMES - 1 if KEYFRAME in long_texts else 0)
    return await asyncio.to_thread(_parse_long, request, content, long_texts, "JSON", most)


def max_body_bytes(settings: Settings) -> int:
    """The bound of a body with images."""
    return max_images_bytes(settings.limits) + MAX_FIELDS_BYTES


async def discard_body(request: Request, settings: Settings) -> None:
    """Read the body and keep nothing, so that a client that is still sending gets the answer.

    Stops at the limits of size and time that every body has.
    """
    max_bytes = max_body_bytes(settings)
    with contextlib.suppress(PayloadTooLarge, RequestTimeout, InvalidRequest):
        async for _ in bounded_body(request, max_bytes, settings.ingress.body_timeout_s).stream():
            pass


async def read_bytes(request: Request, max_bytes: int, max_s: float) -> bytes:
    """Read a whole body of any type. Raises InvalidRequest, PayloadTooLarge, RequestTimeout."""
    return bytes(await read_all(bounded_body(request, max_bytes, max_s)))


async def _read_form(
    request: Request, first: tuple[str, ...], max_image_bytes: int
) -> tuple[dict[str, object], list[SentImage]]:
    names = (*first, *OTHER_IMAGES)
    form = await parse_form(request.headers, request.stream(), names, MAX_FIELDS_BYTES)
    try:
        fields = form_fields(form, names, REPEATED)
        images: list[SentImage] = []
        for name in names:
            if _is_wanted(field := _field_of(name), images):
                found = await form_images(form, name, max_image_bytes)
                images.extend(SentImage(field, name, content) for content in found)
        return fields, images
    finally:
        await form.close()


def parse_fields(
    request: Request, content: bytearray, long_texts: Collection[str], allowed: str, max_texts: int
) -> dict[str, object]:
    """The fields of a JSON object. Those of `long_texts` may be long. Raises InvalidRequest, PayloadTooLarge."""
    if len(content) <= MAX_FIELDS_BYTES:
        return _parse_object(request, bytes(content), allowed)
    return _parse_long(request, content, long_texts, allowed, max_texts)


def split_places(
    fields: dict[str, object], files: Sequence[tuple[str, bytes | ImageUrl]]
) -> tuple[dict[str, object], GivenImages]:
    """Separate what belongs to the images from the other fields. Raises InvalidRequest for the URL of an image."""
    contents = []
    for name, each in files:
        if isinstance(each, ImageUrl):
            raise refuse_url(each)
        contents.append((name, each))
    places = take_places(fields)
    return fields, GivenImages(tuple(contents), places)


def _field_of(name: str) -> str:
    """The field of this server that an image's name stands for."""
    return name if name in OTHER_IMAGES else IMAGE


def _is_wanted(field: str, images: Sequence[SentImage]) -> bool:
    """Whether a further image of this field counts: every keyframe does, of the others only the first."""
    return field == KEYFRAME or all(image.field != field for image in images)


def _parse_long(
    request: Request, content: bytearray, names: Collection[str], allowed: str, max_texts: int
) -> dict[str, object]:
    """Parse a body that is longer than fields may be. Some of its texts may be images."""
    too_large = PayloadTooLarge(f"{len(content)} bytes", MAX_FIELDS_BYTES, "beside the image")
    try:
        split = split_long_texts(content, MAX_FIELDS_BYTES, max_texts)
    except RemainderTooLarge:
        raise too_large from None
    fields = _parse_object(request, split.remainder, allowed)
    for token, text in split.texts.items():
        if not any(_put_back(fields, name, token, text) for name in names):
            raise too_large
    return fields


def _put_back(fields: dict[str, object], name: str, token: str, text: bytes) -> bool:
    """Replace the token by the long text. Returns whether the token was in the image field `name`."""
    for holder, key in _spots(fields, name):
        if holder[key] == token:
            holder[key] = _spell_out(name, text)
            return True
    return False


def _spots(fields: dict[str, object], name: str) -> Iterator[tuple[Any, Any]]:
    """Where an image field may have its text: in itself, in the list of keyframes, or in an object in either place."""
    if name not in fields:
        return
    value = fields[name]
    images: list[tuple[Any, Any]] = [(fields, name)]
    if name == KEYFRAME and isinstance(value, list):
        images = [(value, index) for index in range(len(value))]
    for holder, key in images:
        yield holder, key
        for outer in OBJECT_KEYS:
            inside = holder[key]
            if not isinstance(inside, dict) or outer not in inside:
                continue
            yield inside, outer
            if isinstance(inside[outer], dict) and "url" in inside[outer]:
                yield inside[outer], "url"


def _spell_out(name: str, text: bytes) -> str:
    try:
        return spell_out(text)
    except ValueError:
        raise InvalidRequest(name, Described(f"a text of {len(text)} bytes that is not JSON"), "JSON") from None


def take_sent_images(fields: dict[str, object], names: ImageNames) -> tuple[dict[str, object], list[SentImage]]:
    """Remove the image fields, and return the other fields and the images. Raises InvalidRequest."""
    given = {name: fields.pop(name) for name in (*names.in_json, *OTHER_IMAGES) if name in fields}
    images: list[SentImage] = []
    for name, value in given.items():
        if _is_wanted(field := _field_of(name), images):
            found = [image_in_fields(name, each) for each in as_several(name, value)]
            images.extend(SentImage(field, name, content) for content in found if content is not None)
    return fields, images


def as_several(name: str, value: object) -> list[object]:
    """The images that a field names: keyframes may be a list."""
    return value if name == KEYFRAME and isinstance(value, list) else [value]


def check_kind(request: Request, allowed: str) -> None:
    """Refuse a content type that is certainly not JSON. Raises InvalidRequest."""
    kind = request.headers.get("content-type", "")
    if kind.lower().startswith(NO_JSON):
        raise InvalidRequest("body", kind, allowed)


def _parse_object(request: Request, content: bytes, allowed: str) -> dict[str, object]:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        given = content[:60].decode(errors="replace") if content else Described("an empty body")
        kind = request.headers.get("content-type", "")
        why = f"a form came as {kind}" if content.startswith(b"--") else _why(error)
        raise InvalidRequest("body", given, f"{allowed} ({why})") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("body", fields, "a JSON object")
    return fields


def _why(error: Exception) -> str:
    """Return why the body is not JSON, without Python's terms."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start}"
    return "nested too deep" if isinstance(error, RecursionError) else "a number with too many digits"


async def read_all(request: Request) -> bytearray:
    """Read a body whose size is limited."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
    return content


def bounded_body(request: Request, max_bytes: int, max_s: float) -> Request:
    """Limit the body: PayloadTooLarge once it exceeds `max_bytes`, RequestTimeout after `max_s` seconds."""
    coding = request.headers.get("content-encoding", "")
    if not PACKED.isdisjoint(coding.lower().replace(" ", "").split(",")):
        raise InvalidRequest("Content-Encoding", coding, "left out: the body must not be encoded")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise PayloadTooLarge(f"{declared} bytes", max_bytes)
    received = 0
    deadline = asyncio.get_running_loop().time() + max_s

    async def receive() -> Message:
        nonlocal received
        try:
            async with asyncio.timeout_at(deadline):
                message = await request.receive()
        except TimeoutError:
            raise RequestTimeout(f"the body was not complete after {max_s:g} s") from None
        if message["type"] == "http.disconnect":
            raise InvalidRequest(
                "body", Described(f"{received} bytes and no end"), "sent to its end"
            )  # the client has disconnected and does not receive this
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise PayloadTooLarge("more than that", max_bytes)
        return message

    return Request(request.scope, receive)
