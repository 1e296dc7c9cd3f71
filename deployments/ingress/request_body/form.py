"""Parses multipart forms. A part's field name, filename and content type together decide whether it is a file.

RFC 7578 does not require a filename, and some clients omit it. When no file was chosen, a browser sends an empty
filename and no bytes.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection
from typing import Any

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from deployments.ingress.request_body.data_url import ALLOWED, image_in_text
from models.errors import ImageTooLarge, InvalidRequest
from models.request.json_words import NOTHING, Described
from models.request.request import TEXTS, VideoRequest

MAX_FORM_FIELDS = 100
MAX_FORM_FILES = 4
TEXT_BYTES = 2000
"""Length in bytes. A shorter text in a part without a filename is the name of a file or a URL, not an image."""
NULL = "null"
"""JavaScript's FormData converts null to this text."""
UNNAMED = b'; filename=""'


class ImagePartParser(MultiPartParser):
    """Starlette's parser, but a part with the name of an image is a file even without a filename."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], images: Collection[str], **bounds: Any):
        super().__init__(headers, stream, max_files=MAX_FORM_FILES, max_fields=MAX_FORM_FIELDS, **bounds)
        self._images = images

    def on_headers_finished(self) -> None:
        """Give an image part a filename if it has none, so that Starlette treats it as a file."""
        super().on_headers_finished()
        part = self._current_part
        if part.file is None and part.field_name in self._images and part.content_disposition is not None:
            self._current_fields -= 1
            part.content_disposition += UNNAMED
            super().on_headers_finished()


async def parse_form(
    headers: Headers, stream: AsyncGenerator[bytes, None], images: Collection[str], max_part_bytes: int
) -> FormData:
    """Parse a form. Parts named in `images` are files. Raises InvalidRequest."""
    kind = headers["content-type"]
    try:
        return await ImagePartParser(headers, stream, images, max_part_size=max_part_bytes).parse()
    except MultiPartException as error:
        raise InvalidRequest("body", kind, f"well-formed multipart/form-data ({error.message})") from None
    except ValueError:  # an unknown codec in the Content-Type header
        raise InvalidRequest("body", kind, "multipart/form-data in UTF-8") from None


def form_fields(form: FormData, images: Collection[str]) -> dict[str, object]:
    """Return the fields as text, without the images. The text "null" means null in fields that are not texts."""
    fields: dict[str, object] = {name: value for name, value in form.items() if name not in images}
    for name, value in fields.items():
        if isinstance(value, UploadFile) and name in VideoRequest.model_fields:
            raise InvalidRequest(name, Described(f"a file named {value.filename}"), "a plain field, not a file")
    return {name: None if value == NULL and name not in TEXTS else value for name, value in fields.items()}


async def form_image(form: FormData, name: str, max_bytes: int) -> bytes | None:
    """Return the image of a part; None if no file was chosen. Raises InvalidRequest, ImageTooLarge."""
    part = form.get(name)
    if not isinstance(part, UploadFile):
        return None
    if not part.size:
        return b"" if part.filename else None
    start = await part.read(TEXT_BYTES + 1)
    if start.lstrip()[:5].lower() == b"data:" or (start.lstrip()[:1] == b"{" and not _is_file(part)):
        text = (start + await part.read()).decode("latin-1")
        return await asyncio.to_thread(image_in_text, name, text)
    if not _is_file(part) and len(start) <= TEXT_BYTES and _is_text(start):
        return image_in_text(name, start.decode())
    if part.size > max_bytes:
        raise ImageTooLarge(name, Described(f"a file of {part.size} bytes"), f"a file of at most {max_bytes} bytes")
    return start + await part.read()


def missing_image(name: str) -> InvalidRequest:
    """Return the error for a missing required image."""
    return InvalidRequest(name, NOTHING, ALLOWED)


def _is_file(part: UploadFile) -> bool:
    """Return True if the client chose a file: the part has a filename, or a content type other than text."""
    kind = (part.content_type or "").lower()
    return bool(part.filename) or kind.startswith("image/")


def _is_text(content: bytes) -> bool:
    try:
        return content.decode().isprintable()
    except UnicodeDecodeError:
        return False
