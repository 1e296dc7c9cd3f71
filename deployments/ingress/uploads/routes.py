"""The route /uploads/{upload_id}, which takes the file of an upload ticket."""

import asyncio
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deployments.ingress.concurrency.limits import current_owner
from deployments.ingress.context import AppContext
from deployments.ingress.errors import Conflict, Forbidden
from deployments.ingress.request_body.reading import bounded_body
from deployments.ingress.uploads.kinds import UploadBound, named_kind
from deployments.ingress.uploads.tickets import TICKET_SIGNING, read_ticket
from deployments.work_folder import work_folder
from models.errors import InvalidRequest
from models.request.json_words import NOTHING
from storage.outputs.store import input_key


def uploads_router(context: AppContext) -> APIRouter:
    """Create the router. Clients get the url from an answer, so OpenAPI leaves the route out."""
    router = APIRouter(include_in_schema=False)

    @router.put("/uploads/{upload_id}")
    async def upload_image(upload_id: str, request: Request) -> JSONResponse:
        """Takes one image, audio or video for a later request. The ticket in the path replaces the API key."""
        secret = await context.read_threads.run(context.tasks.shared_secret, TICKET_SIGNING)
        ticket = read_ticket(upload_id, secret)
        if ticket is None or ticket.is_expired:
            raise Forbidden("the upload url is not valid or has expired; create a new one")
        current_owner.set(ticket.owner)
        with context.uploads.acquire(), work_folder() as folder:
            key = input_key(ticket.id)
            if await context.file_threads.run(context.outputs.stat, key) is not None:
                raise Conflict("a file was already sent to this url; create another one")
            named = named_kind(request.headers.get("content-type", ""))
            bound = UploadBound(ticket.kind, context.settings.limits, _declared_bytes(request), named)
            bound.check(b"")  # before a byte is read
            bounded = bounded_body(request, bound.max_bytes, context.settings.ingress.body_timeout_s)
            size_bytes = await _write_body(bounded, folder / "upload", bound)
            if not size_bytes:
                raise InvalidRequest("body", NOTHING, "a file")
            await context.file_threads.run(context.check_space)
            await context.file_threads.run(context.outputs.put, key, folder / "upload")
        return JSONResponse({"upload_id": upload_id, "size_bytes": size_bytes})

    return router


def _declared_bytes(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else 0


async def _write_body(request: Request, target: Path, bound: UploadBound) -> int:
    """Write a body to a file, and return its size in bytes. Raises PayloadTooLarge, RequestTimeout."""
    size_bytes = 0
    with target.open("wb") as file:
        async for chunk in request.stream():
            bound.check(chunk)
            size_bytes += await asyncio.to_thread(file.write, chunk)
    return size_bytes
