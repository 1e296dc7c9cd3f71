"""The route /uploads/{upload_id}, which takes the image of an upload ticket."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deployments.ingress.concurrency.limits import current_owner
from deployments.ingress.context import AppContext
from deployments.ingress.errors import Conflict, Forbidden
from deployments.ingress.request_body.reading import read_bytes
from deployments.ingress.uploads.tickets import TICKET_SIGNING, read_ticket
from models.errors import InvalidRequest
from models.request.json_words import NOTHING
from storage.outputs.store import input_key


def uploads_router(context: AppContext) -> APIRouter:
    """Create the router. Clients get the url from an answer, so OpenAPI leaves the route out."""
    router = APIRouter(include_in_schema=False)

    @router.put("/uploads/{upload_id}")
    async def upload_image(upload_id: str, request: Request) -> JSONResponse:
        """Takes one image for a later request. The ticket in the path replaces the API key."""
        secret = await context.read_threads.run(context.tasks.shared_secret, TICKET_SIGNING)
        ticket = read_ticket(upload_id, secret)
        if ticket is None or ticket.is_expired:
            raise Forbidden("the upload url is not valid or has expired; create a new one")
        current_owner.set(ticket.owner)
        with context.uploads.acquire():
            key = input_key(ticket.id)
            if await context.file_threads.run(context.outputs.stat, key) is not None:
                raise Conflict("an image was already sent to this url; create another one")
            most, settings = context.settings.limits.max_image_bytes, context.settings.ingress
            content = await read_bytes(request, most, settings.body_timeout_s)
            if not content:
                raise InvalidRequest("body", NOTHING, "an image file")
            await context.file_threads.run(context.check_space)
            await context.file_threads.run(context.outputs.put, key, content)
        return JSONResponse({"upload_id": upload_id, "size_bytes": len(content)})

    return router
