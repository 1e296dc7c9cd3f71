"""The routes /mcp, for the protocol, and /uploads/{upload_id}, which takes the image of an upload ticket."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from deployments.ingress.concurrency.limits import current_owner, upload_slot
from deployments.ingress.context import AppContext
from deployments.ingress.errors import Conflict, Forbidden
from deployments.ingress.mcp.server import MAX_BODY_BYTES, McpServer
from deployments.ingress.mcp.upload_tickets import TICKET_SIGNING, read_ticket
from deployments.ingress.request_body.reading import read_bytes
from deployments.ingress.submission import check_space
from models.errors import InvalidRequest
from models.request.json_words import NOTHING
from storage.outputs.store import input_key


def mcp_router(context: AppContext, server: McpServer) -> APIRouter:
    """Create the router of both routes. MCP describes its tools itself, so OpenAPI leaves them out."""
    router = APIRouter(tags=["mcp"], include_in_schema=False)

    @router.post("/mcp")
    async def mcp(request: Request) -> Response:
        """POST only: with GET, a stateless server would hold a stream open that stays silent."""
        with upload_slot(context.uploads, request):
            body = await read_bytes(request, MAX_BODY_BYTES, context.settings.ingress.body_timeout_s)
            return McpResponse(server, body, request)

    @router.put("/uploads/{upload_id}")
    async def upload_image(upload_id: str, request: Request) -> JSONResponse:
        """Takes one image for create_video. The ticket in the path replaces the API key."""
        secret = await context.read_threads.run(context.tasks.shared_secret, TICKET_SIGNING)
        ticket = read_ticket(upload_id, secret)
        if ticket is None or ticket.is_expired:
            raise Forbidden("the upload url is not valid or has expired; call create_image_upload for a new one")
        current_owner.set(ticket.owner)
        with context.uploads.acquire():
            key = input_key(ticket.id)
            if await context.file_threads.run(context.outputs.stat, key) is not None:
                raise Conflict("an image was already sent to this url; call create_image_upload for another one")
            most, settings = context.settings.limits.max_image_bytes, context.settings.ingress
            content = await read_bytes(request, most, settings.body_timeout_s)
            if not content:
                raise InvalidRequest("body", NOTHING, "an image file")
            await context.file_threads.run(check_space, context)
            await context.file_threads.run(context.outputs.put, key, content)
        return JSONResponse({"upload_id": upload_id, "size_bytes": len(content)})

    return router


class McpResponse(Response):
    """Lets the MCP server answer a request whose body is already read."""

    def __init__(self, server: McpServer, body: bytes, request: Request) -> None:
        super().__init__()
        self._server = server
        self._message: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._request = request

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer through the SDK. After the body, it waits for the client to leave, and then ends the call."""
        await self._server.handle(scope, self._receive, send)

    async def _receive(self) -> Message:
        message, self._message = self._message, None
        return message if message is not None else await self._request.receive()
