"""Serves output files over HTTP from any output store, with Range, ETag and conditional requests."""

import re
from collections.abc import Mapping
from email.utils import formatdate
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from deployments.ingress.concurrency.limits import current_owner
from deployments.ingress.concurrency.thread_pool import AsyncOutputReader
from deployments.ingress.context import AppContext
from deployments.ingress.derived.maker import source_key
from deployments.ingress.errors import Forbidden, NotFound
from deployments.ingress.http_conditions import check_preconditions, is_not_modified, parse_range
from deployments.ingress.middleware.auth import Unauthorized, bearer_token, request_owner
from deployments.ingress.routes.tasks import get_owned_task
from deployments.ingress.schemas import ErrorBody, errors
from models.errors import StorageFull
from storage.outputs.store import MEDIA_TYPES, DerivedFile, StoredFile, derived_key, poster_key
from storage.tasks import ANONYMOUS, State

FILENAME = re.compile(rf"ltx2_[0-9a-f]{{32}}\.(mp4|jpg|{'|'.join(map(re.escape, DerivedFile))})")
TASK_ID = slice(len("ltx2_"), len("ltx2_") + 32)
"""The position of the task id in a filename."""
KIND = slice(TASK_ID.stop + 1, None)
"""The position of the ending in a filename: that of the video or the poster, or the name of a derived file."""
DERIVED_FILES = {kind.value: kind for kind in DerivedFile}


def described_files(*media_types: str) -> dict[str, Any]:
    """The content of a file response for OpenAPI.

    Client generators drop media types that they do not know, so `application/octet-stream` is listed too.
    """
    kinds = (*media_types, "application/octet-stream")
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}


FILE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": described_files(*MEDIA_TYPES.values())},
    206: {"description": "The range that was asked for"},
    304: {"description": "The file has not changed"},
    307: {"description": "The file is at this url for a limited time (if `outputs.delivery` is `redirect`)"},
    412: {"model": ErrorBody, "description": "The file is not the one that `If-Match` names"},
    416: {"model": ErrorBody, "description": "The range lies outside the file"},
}


def outputs_router(context: AppContext) -> APIRouter:
    """Create the router of the output files."""
    router = APIRouter(tags=["outputs"])
    refusals = errors(404, 422, 500, 503, 507, *([403] if context.settings.api_keys else []))

    @router.head("/outputs/{filename}", include_in_schema=False)
    @router.get(
        "/outputs/{filename}",
        summary="Download a video, its poster or a file made from it",
        response_class=Response,
        responses={**FILE_RESPONSES, **refusals},
    )
    async def download_file(
        filename: str,
        request: Request,
        expires: Annotated[str, Query(description="Of a signed url.", max_length=20)] = "",
        signature: Annotated[str, Query(description="Of a signed url.", max_length=100)] = "",
        redirect: Annotated[bool, Query(description="false: the file itself, never a redirect to a bucket.")] = True,
    ) -> Response:
        """The names are in `url`, `poster_url` and `downloads` of a completed task. With API keys they are signed.

        The files in `downloads` are made from the video when they are first asked for, and then kept beside it. A page
        of a browser reads a file with `redirect=false`, because a bucket allows it no reads.
        """
        if not FILENAME.fullmatch(filename):
            raise NotFound("there is no such file")
        if context.settings.api_keys:
            await context.read_threads.run(admit, context, filename, request, (expires, signature))
        if (kind := DERIVED_FILES.get(filename[KIND])) is not None:
            return await deliver_derived(context, filename[TASK_ID], kind, filename, request, redirect=redirect)
        return await deliver(context, f"outputs/{filename}", filename, request, redirect=redirect)

    return router


def admit(context: AppContext, filename: str, request: Request, signed: tuple[str, str]) -> None:
    """Accept a signed url or the owner's key. Raises NotFound, Forbidden, Unauthorized. Blocks on the store."""
    signer, owner = context.signer, request_owner(request)
    problem = signer.find_problem(f"outputs/{filename}", *signed) if signer else None
    if problem is None or (owner and get_owned_task(context, filename[TASK_ID], owner)):
        return
    if any(signed):
        raise Forbidden(problem)
    if owner:
        raise NotFound("there is no such file")
    raise Unauthorized(bearer_token(request))


async def deliver(context: AppContext, key: str, filename: str, request: Request, *, redirect: bool = True) -> Response:
    """Return the file, a range of it, or a redirect to its url. `filename` is the name to save it under.

    `redirect`: whether a redirect is of use to the client. Raises NotFound.
    """
    file = await context.reads.stat(key)
    if file is None:
        raise NotFound(await explain_absence(context, key))
    return await _send(context, key, file, filename, request, redirect=redirect)


async def deliver_derived(
    context: AppContext, task_id: str, kind: DerivedFile, filename: str, request: Request, *, redirect: bool = True
) -> Response:
    """As `deliver`, for a file that is made from the video unless it was made before. Raises as `make_derived`."""
    key = derived_key(task_id, kind)
    if (file := await context.reads.stat(key)) is not None:
        return await _send(context, key, file, filename, request, redirect=redirect)
    try:
        await make_derived(context, task_id, kind)
    except StorageFull:
        if kind is not DerivedFile.THUMBNAIL:
            raise
        key = poster_key(task_id)  # a full disk hides no poster
    return await deliver(context, key, filename, request, redirect=redirect)


async def make_derived(context: AppContext, task_id: str, kind: DerivedFile) -> None:
    """Make a file from a video, in the turn of the video's owner.

    Raises NotFound, EncodeFailed, ReaderLost, StorageFull, TooManyRequests.
    """
    task = await context.read_threads.run(context.tasks.get, task_id)
    current_owner.set(ANONYMOUS if task is None else task.owner)  # a signed url names nobody
    try:
        await context.derived_files.make(task_id, kind)
    except FileNotFoundError:
        raise NotFound(await explain_absence(context, source_key(task_id, kind))) from None


async def _send(
    context: AppContext, key: str, file: StoredFile, filename: str, request: Request, *, redirect: bool
) -> Response:
    """Return a file that is there, or a redirect to its url."""
    reads, settings = context.reads, context.settings.outputs
    context.missing_files.discard(key)
    redirects = redirect and settings.delivery == "redirect"
    if redirects and request.method == "GET":  # a signature is valid for one method only
        url = await reads.sign(key, settings.signed_url_ttl_s, filename)
        if url is not None:
            return RedirectResponse(url, 307, {"Cache-Control": "no-store"})
    return await _serve(reads, key, file, filename, request)


async def send_whole_file(
    context: AppContext, key: str, filename: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """Return a whole file, to be saved under `filename`. Never redirects. Raises NotFound."""
    file = await context.reads.stat(key)
    if file is None:
        raise NotFound(await explain_absence(context, key))
    headers = {"Content-Length": str(file.size_bytes), **save_as(filename), **headers}
    try:
        content = await context.reads.open(key, 0, file.size_bytes)
    except FileNotFoundError:
        raise NotFound("there is no such file") from None
    return StreamingResponse(content, 200, headers, MEDIA_TYPES[key.rpartition(".")[2]])


async def explain_absence(context: AppContext, key: str) -> str:
    """Explain why there is no file under a key. If a completed task refers to it, /health then shows a notice."""
    task = await context.read_threads.run(context.tasks.get, key.removeprefix("outputs/")[TASK_ID])
    named = task is not None and task.state == State.COMPLETED and await context.reads.stat(key) is None
    if not named:
        return "there is no such file"
    context.missing_files.add(key)
    return "the task is completed, and the output store has lost this file; the server's operator can see that"


def save_as(filename: str) -> dict[str, str]:
    """The header with the name to save a file under. `inline` lets a browser play it; `attachment` would not."""
    return {"Content-Disposition": f'inline; filename="{filename}"'}


async def _serve(reads: AsyncOutputReader, key: str, file: StoredFile, filename: str, request: Request) -> Response:
    media_type = MEDIA_TYPES[key.rpartition(".")[2]]
    headers = {
        "ETag": f'"{file.etag}"',
        "Last-Modified": formatdate(file.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        **save_as(filename),
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    check_preconditions(request, file)
    if is_not_modified(request, file):
        return Response(status_code=304, headers=headers)
    part = parse_range(request, file)
    start, length = part or (0, file.size_bytes)
    headers["Content-Length"] = str(length)
    if part:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{file.size_bytes}"
    status = 206 if part else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    try:
        content = await reads.open(key, start, length)
    except FileNotFoundError:
        raise NotFound("there is no such file") from None
    return StreamingResponse(content, status, headers, media_type)
