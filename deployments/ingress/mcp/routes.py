"""The route /mcp."""

from fastapi import APIRouter, Request, Response
from starlette.types import Message, Receive, Scope, Send

from deployments.ingress.concurrency.limits import upload_slot
from deployments.ingress.context import AppContext
from deployments.ingress.mcp.server import MAX_BODY_BYTES, McpServer
from deployments.ingress.request_body.reading import read_bytes


def mcp_router(context: AppContext, server: McpServer) -> APIRouter:
    """Create the router. MCP describes its tools itself, so OpenAPI leaves them out."""
    router = APIRouter(tags=["mcp"], include_in_schema=False)

    @router.post("/mcp")
    async def mcp(request: Request) -> Response:
        """POST only: with GET, a stateless server would hold a stream open that stays silent."""
        with upload_slot(context.uploads, request):
            body = await read_bytes(request, MAX_BODY_BYTES, context.settings.ingress.body_timeout_s)
            return McpResponse(server, body, request)

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
