"""Parses forms. The field name, the filename and the content type together decide whether a part is a file.

RFC 7578 does not require a filename for a file, and some clients omit it. If the user chose no file, a browser sends an
empty filename and no bytes.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection
from typing import Any

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from deployments.ingress.request_body.data_url import ALLOWED, ImageUrl, image_in_text
from models.errors import ImageTooLarge, InvalidRequest
from models.request.json_words import NOTHING, Described
from models.request.places import KEYFRAME, MAX_IMAGES, PLACE_FIELDS, REPEATED
from models.request.request import TEXTS, VideoRequest

MAX_FORM_FIELDS = 100
MAX_FORM_FILES = MAX_IMAGES + 2
TEXT_BYTES = 2000
"""A text part without a filename and up to this length is not an image: it is a file's name or a URL."""
NULL = "null"
"""The text that JavaScript's FormData sends for null."""
UNNAMED = b'; filename=""'
IN_BRACKETS = {f"{name}[]": name for name in (KEYFRAME, *REPEATED)}
"""How openai's packages and others write the name of a repeated field."""


class ImagePartParser(MultiPartParser):
    """Starlette's parser, changed to treat a part with an image's field name as a file even without a filename."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], images: Collection[str], **bounds: Any):
        super().__init__(headers, stream, max_files=MAX_FORM_FILES, max_fields=MAX_FORM_FIELDS, **bounds)
        self._images = images

    def on_headers_finished(self) -> None:
        """Add an empty filename to an image part that has none, so that Starlette treats it as a file."""
        super().on_headers_finished()
        part = self._current_part
        if part.file is None and unbracketed(part.field_name) in self._images and part.content_disposition is not None:
            self._current_fields -= 1
            part.content_disposition += UNNAMED
            super().on_headers_finished()


async def parse_form(
    headers: Headers, stream: AsyncGenerator[bytes, None], images: Collection[str], max_part_bytes: int
) -> FormData:
    """Parse a form. The parts named in `images` become files. Raises InvalidRequest."""
    kind = headers["content-type"]
    try:
        form = await ImagePartParser(headers, stream, images, max_part_size=max_part_bytes).parse()
    except MultiPartException as error:
        raise InvalidRequest("body", kind, f"well-formed multipart/form-data ({error.message})") from None
    except ValueError:  # caused by the charset that the Content-Type names
        raise InvalidRequest("body", kind, "multipart/form-data in UTF-8") from None
    return FormData([(unbracketed(name), value) for name, value in form.multi_items()])


def unbracketed(name: str) -> str:
    """The name of a field, without the brackets of a repeated one."""
    return IN_BRACKETS.get(name, name)


def form_fields(form: FormData, images: Collection[str], repeated: Collection[str] = ()) -> dict[str, object]:
    """Return the fields as text, without the images. The word null means None, except in text fields.

    A field of `repeated` is a list.
    """
    fields: dict[str, object] = {name: value for name, value in form.items() if name not in images}
    for name, value in fields.items():
        if isinstance(value, UploadFile) and (name in VideoRequest.model_fields or name in PLACE_FIELDS):
            raise InvalidRequest(name, Described(f"a file named {value.filename}"), "a plain field, not a file")
    fields |= {name: form.getlist(name) for name in repeated if name in fields}
    return {name: None if value == NULL and name not in TEXTS else value for name, value in fields.items()}


async def form_images(form: FormData, name: str, max_bytes: int) -> list[bytes | ImageUrl]:
    """Return the images in all parts of a repeated field, or the last one of another. Some may be URLs.

    Raises InvalidRequest, ImageTooLarge.
    """
    parts = form.getlist(name) if name == KEYFRAME else [form.get(name)]
    images = [await _part_image(part, name, max_bytes) for part in parts]
    return [image for image in images if image is not None]


async def _part_image(part: UploadFile | str | None, name: str, max_bytes: int) -> bytes | ImageUrl | None:
    """Return the image in a part, or its URL; None if the user chose no file."""
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
    """Return the error for a missing image where one is required."""
    return InvalidRequest(name, NOTHING, ALLOWED)


def _is_file(part: UploadFile) -> bool:
    """Tell whether the user chose a file: the part has a filename or the content type of an image."""
    kind = (part.content_type or "").lower()
    return bool(part.filename) or kind.startswith("image/")


def _is_text(content: bytes) -> bool:
    try:
        return content.decode().isprintable()
    except UnicodeDecodeError:
        return False
