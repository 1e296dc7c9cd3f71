"""Reads a body with an audio or a video file, as a form or as JSON, into a folder."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from deployments.ingress.request_body.data_url import ImageUrl, decode_data_url, image_in_fields
from deployments.ingress.request_body.form import form_fields, form_images, parse_form
from deployments.ingress.request_body.given_images import NO_IMAGES, GivenImages, check_total, max_images_bytes
from deployments.ingress.request_body.given_media import SOURCE_TASK, GivenMedia, MediaUse, split_media_fields
from deployments.ingress.request_body.reading import (
    FORM,
    MAX_FIELDS_BYTES,
    as_several,
    bounded_body,
    read_long_json,
    split_places,
)
from deployments.settings import Settings
from models.errors import FileTooLarge, InvalidRequest
from models.request.json_words import NOTHING, Described
from models.request.loose_values import is_blank
from models.request.places import REPEATED
from models.request.request import RequestLimits

CHUNK_BYTES = 1024 * 1024
DATA_URL_START = b"data:"


async def read_media(
    request: Request, settings: Settings, use: MediaUse, folder: Path
) -> tuple[dict[str, object], GivenImages, GivenMedia]:
    """Read the fields, the images and the file, which is written into `folder`.

    Raises InvalidRequest, FileTooLarge, PayloadTooLarge, RequestTimeout.
    """
    target = folder / use.file_field
    if request.headers.get("content-type", "").lower().startswith(FORM):
        fields, images, digest = await _read_form(request, settings, use, target)
    else:
        fields, images, digest = await _read_json(request, settings, use, target)
    return fields, images, _given(use, fields, target if digest else None, digest)


def max_file_bytes(use: MediaUse, limits: RequestLimits) -> int:
    """The bound of the file."""
    return limits.max_audio_bytes if use is MediaUse.A2V else limits.max_video_bytes


def described_file(use: MediaUse) -> str:
    """What the field of the file may have, for errors."""
    example = "audio/mpeg" if use is MediaUse.A2V else "video/mp4"
    return f"a file, or a data url of one (data:{example};base64,...)"


def write_file(use: MediaUse, content: bytes, target: Path, limits: RequestLimits) -> str:
    """Write the bytes of a file, and return their digest. Raises FileTooLarge, and InvalidRequest for an empty file."""
    _check_size(use, len(content), limits)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _given(use: MediaUse, fields: dict[str, object], path: Path | None, digest: str) -> GivenMedia:
    """Take what belongs to the file from the fields. Exactly one of a file and a task must be there."""
    task_id = None if use is MediaUse.A2V else fields.pop(SOURCE_TASK, None)
    if is_blank(task_id):
        task_id = None
    if task_id is not None and not isinstance(task_id, str):
        raise InvalidRequest(SOURCE_TASK, task_id, "the id of a completed task")
    if path is None and task_id is None:
        instead = "" if use is MediaUse.A2V else f"; or left out with a {SOURCE_TASK}"
        raise InvalidRequest(use.file_field, NOTHING, f"{described_file(use)}{instead}")
    if path is not None and task_id is not None:
        raise InvalidRequest(SOURCE_TASK, task_id, f"left out: there is a {use.file_field}")
    own, replaced = split_media_fields(use, fields)
    for name in (*own, *replaced):
        del fields[name]
    return GivenMedia(use, path, digest, None if task_id is None else str(task_id).strip(), own, replaced)


async def _read_form(
    request: Request, settings: Settings, use: MediaUse, target: Path
) -> tuple[dict[str, object], GivenImages, str]:
    limits, images = settings.limits, use.images
    most = max_file_bytes(use, limits) + MAX_FIELDS_BYTES + (max_images_bytes(limits) if images else 0)
    bounded = bounded_body(request, most, settings.ingress.body_timeout_s)
    named = (use.file_field, *images)
    form = await parse_form(bounded.headers, bounded.stream(), named, MAX_FIELDS_BYTES)
    try:
        fields = form_fields(form, named, REPEATED if images else ())
        files = await _form_images(form, images, limits)
        fields, given = split_places(fields, files) if images else (fields, NO_IMAGES)
        digest = await asyncio.to_thread(_copy_part, form.get(use.file_field), use, target, limits)
        return fields, given, digest
    finally:
        await form.close()


async def _form_images(
    form: FormData, names: Sequence[str], limits: RequestLimits
) -> list[tuple[str, bytes | ImageUrl]]:
    """The images of a form, with their fields. Raises ImageTooLarge also for what they have together."""
    files: list[tuple[str, bytes | ImageUrl]] = []
    for name in names:
        files.extend((name, each) for each in await form_images(form, name, limits.max_image_bytes))
        check_total(name, [each for _, each in files if isinstance(each, bytes)], limits)
    return files


def _copy_part(part: UploadFile | str | None, use: MediaUse, target: Path, limits: RequestLimits) -> str:
    """Write the file of a part, and return its digest: empty if the user chose none."""
    if not isinstance(part, UploadFile) or (not part.size and not part.filename):
        return ""
    _check_size(use, part.size or 0, limits)
    digest, source = hashlib.sha256(), part.file
    source.seek(0)
    chunk = source.read(CHUNK_BYTES)
    if chunk.lstrip()[: len(DATA_URL_START)].lower() == DATA_URL_START:
        text = (chunk + source.read()).decode("latin-1")
        return write_file(use, decode_data_url(use.file_field, text, described_file(use)), target, limits)
    with target.open("wb") as file:
        while chunk:
            digest.update(chunk)
            file.write(chunk)
            chunk = source.read(CHUNK_BYTES)
    return digest.hexdigest()


async def _read_json(
    request: Request, settings: Settings, use: MediaUse, target: Path
) -> tuple[dict[str, object], GivenImages, str]:
    fields = await read_long_json(request, settings, (use.file_field, *use.images))
    given = NO_IMAGES
    if use.images:
        fields, given = await asyncio.to_thread(_take_images, fields, use.images)
    text = fields.pop(use.file_field, None)
    if is_blank(text):
        return fields, given, ""
    return fields, given, await asyncio.to_thread(_write_url, use, text, target, settings.limits)


def _take_images(fields: dict[str, object], names: Sequence[str]) -> tuple[dict[str, object], GivenImages]:
    sent = [(name, each) for name in names for each in as_several(name, fields.pop(name, None))]
    found = [(name, image_in_fields(name, each)) for name, each in sent]
    return split_places(fields, [(name, image) for name, image in found if image is not None])


def _write_url(use: MediaUse, text: object, target: Path, limits: RequestLimits) -> str:
    if not isinstance(text, str):
        raise InvalidRequest(use.file_field, text, described_file(use))
    return write_file(use, decode_data_url(use.file_field, text, described_file(use)), target, limits)


def _check_size(use: MediaUse, size_bytes: int, limits: RequestLimits) -> None:
    most = max_file_bytes(use, limits)
    if not size_bytes:
        raise InvalidRequest(use.file_field, Described("a file of 0 bytes"), described_file(use))
    if size_bytes > most:
        given = Described(f"a file of {size_bytes} bytes")
        raise FileTooLarge(use.file_field, given, f"a file of at most {most} bytes")
