"""Reads an image from the fields: a URL, alone or as `image_url` of an object, as OpenAI's clients send it.

A data URL holds the image. An http(s) URL is returned as it is: the routes decide whether to fetch it.
"""

import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from models.errors import InvalidRequest
from models.request.json_words import Described

DATA_URL = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
WEB_URL = ("http://", "https://")
"""How urls begin that may be fetched, in small letters."""
HTTP_URL = re.compile(r"https?:", re.IGNORECASE)
FETCHED = re.compile(r"(https?|ftp|file|s3|gs):", re.IGNORECASE)
ALLOWED = "an image file, or a data url of one (data:image/jpeg;base64,...)"
NO_URLS = ": this server fetches no urls"
FETCHES_NOTHING = f"{ALLOWED}{NO_URLS}"
URL_SAFE = bytes.maketrans(b"-_", b"+/")
SHOWN_CHARS = 60
PIECE_BYTES = 512 * 1024
"""The bytes decoded in one call, during which other threads wait. Must be a multiple of four."""


@dataclass(frozen=True)
class ImageUrl:
    """The http(s) URL of an image, and the field that has it."""

    name: str
    url: str


def is_data_url(text: str) -> bool:
    """Whether a text holds the file itself."""
    return text[:5].lower() == "data:"


def refuse_url(image: ImageUrl) -> InvalidRequest:
    """Return the error for a URL where none is fetched."""
    return InvalidRequest(image.name, image.url[:SHOWN_CHARS], FETCHES_NOTHING)


def image_in_fields(name: str, value: object) -> bytes | ImageUrl | None:
    """Return the image in a field, or its http(s) URL; None if there is none. Raises InvalidRequest."""
    if isinstance(value, Mapping):
        return _image_in_object(name, value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise InvalidRequest(name, value, ALLOWED)
    return _read_url(name, value)


def image_in_text(name: str, text: str) -> bytes | ImageUrl | None:
    """Return the image in a form field: a URL, or the object as JSON. Raises InvalidRequest."""
    if text.strip() in ("", "null"):
        return None
    if not text.lstrip().startswith("{"):
        return _read_url(name, text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest(name, text[:SHOWN_CHARS], ALLOWED) from None
    return image_in_fields(name, value)


def _read_url(name: str, text: str) -> bytes | ImageUrl:
    return ImageUrl(name, text.strip()) if HTTP_URL.match(text.strip()) else decode_data_url(name, text)


def decode_data_url(name: str, text: str, allowed: str = ALLOWED) -> bytes:
    """Return the bytes in a data URL (RFC 2397). Raises InvalidRequest, which says what is `allowed`."""
    text = text.strip()
    head = DATA_URL.match(text)
    if head is None:
        raise InvalidRequest(name, text[:SHOWN_CHARS], f"{allowed}{NO_URLS}" if FETCHED.match(text) else allowed)
    if not head[0][:-1].lower().replace(" ", "").endswith(";base64"):
        raise InvalidRequest(name, text[:SHOWN_CHARS], f"{allowed}, in base64")
    try:
        return _decode_base64(text[head.end() :])
    except (ValueError, UnicodeEncodeError):
        given = Described(f"a data url whose base64 is broken, {len(text)} characters")
        raise InvalidRequest(name, given, allowed) from None


def _decode_base64(text: str) -> bytes:
    """Decode base64 in all common variants: in lines, URL-safe, percent-encoded, without padding. Raises ValueError."""
    digits = text.encode("ascii")
    if b"%" in digits:
        digits = unquote_to_bytes(digits)
    digits = digits.translate(URL_SAFE, b" \t\r\n").rstrip(b"=")
    digits += b"=" * (-len(digits) % 4)
    pieces = (digits[at : at + PIECE_BYTES] for at in range(0, len(digits), PIECE_BYTES))
    return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)


def _image_in_object(name: str, value: Mapping[str, object]) -> bytes | ImageUrl | None:
    if value.get("file_id") is not None:
        raise InvalidRequest(name, {"file_id": value["file_id"]}, f"{ALLOWED}: this server keeps no files of yours")
    url = value.get("image_url")
    url = url.get("url") if isinstance(url, Mapping) else url
    if value and not isinstance(url, str):
        given = {key: each for key, each in value.items() if not isinstance(each, str) or len(each) < SHOWN_CHARS}
        raise InvalidRequest(name, given, f'{ALLOWED}, or an object {{"image_url": ...}} with one')
    return image_in_fields(name, url)
