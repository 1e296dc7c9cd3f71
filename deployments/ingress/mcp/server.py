"""The MCP server of one app, by the official SDK: stateless, so that any replica answers any request.

The SDK is imported with the first request to /mcp, in a thread: it takes more than half a second, and most servers
never need it.
"""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from deployments.ingress.concurrency.limits import current_owner
from deployments.ingress.mcp.arguments import argument_of
from deployments.ingress.mcp.tool_schemas import INSTRUCTIONS
from deployments.ingress.mcp.tools import ToolAnswer, Tools
from deployments.ingress.middleware.auth import request_owner
from models.errors import DoesNotFit, InvalidRequest, QueueFull, StoreUnavailable, VideoError
from storage.tasks import ANONYMOUS

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Limit for one message. A larger image comes by URL or by upload."""

logger = logging.getLogger("ray.serve")


class McpServer:
    """Answers requests to /mcp while `run` is open."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._started: asyncio.Task[StreamableHTTPSessionManager] | None = None
        self._stopped: asyncio.Event | None = None
        self._running: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Accept requests until the context ends. Open calls are then canceled."""
        try:
            yield
        finally:
            if self._stopped is not None and self._running is not None:
                self._stopped.set()
                await asyncio.wait([self._running])

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request. The first one starts the server."""
        if self._started is None:
            self._started = asyncio.create_task(self._start())
        manager = await asyncio.shield(self._started)
        await manager.handle_request(scope, receive, send)

    async def _start(self) -> "StreamableHTTPSessionManager":
        manager = await asyncio.to_thread(build_manager, self._tools)
        self._stopped, ready = asyncio.Event(), asyncio.Event()
        self._running = asyncio.create_task(_run_manager(manager, ready, self._stopped))
        await ready.wait()
        return manager


async def _run_manager(manager: "StreamableHTTPSessionManager", ready: asyncio.Event, stopped: asyncio.Event) -> None:
    async with manager.run():  # opened and closed in one task, as its task group requires
        ready.set()
        await stopped.wait()


def build_manager(tools: Tools) -> "StreamableHTTPSessionManager":
    """Import the SDK and build the server. Takes more than half a second the first time."""
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    return StreamableHTTPSessionManager(
        build_server(tools), stateless=True, json_response=False, max_request_body_size=MAX_BODY_BYTES
    )


def build_server(tools: Tools) -> "Server[Any]":
    """Build the SDK's server with the tools."""
    from mcp.server.lowlevel import Server
    from mcp_types import ListToolsResult, Tool, ToolAnnotations

    listed = [
        Tool(
            name=name,
            title=about["title"],
            description=about["description"],
            input_schema=about["input_schema"],
            output_schema=about.get("output_schema"),
            annotations=ToolAnnotations(open_world_hint=False, **about["hints"]),
        )
        for name, about in tools.described.items()
    ]

    async def list_tools(
        _context: "ServerRequestContext[Any]", _params: "PaginatedRequestParams | None"
    ) -> "ListToolsResult":
        return ListToolsResult(tools=listed)

    async def call_tool(context: "ServerRequestContext[Any]", params: "CallToolRequestParams") -> "CallToolResult":
        async def report_progress(percent: float, message: str) -> None:
            await context.session.report_progress(percent, 100, message)

        request = context.request
        if request is None:
            raise TypeError("tools are called over HTTP")
        current_owner.set(request_owner(request) or ANONYMOUS)
        try:
            answer = await tools.call(params.name, params.arguments or {}, request, report_progress)
        except (VideoError, HTTPException) as error:
            return _failure(explain(error))
        except Exception as error:
            logger.exception("tool %s: unexpected error", params.name[:64], exc_info=error)
            return _failure("the server met an error of its own")
        return _result(answer)

    return Server(
        "ltx2",
        version="1",
        title="LTX-2 video server",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def explain(error: VideoError | HTTPException) -> str:
    """The message for the model, with the arguments' own names."""
    if isinstance(error, HTTPException):
        return str(error.detail)
    if isinstance(error, DoesNotFit):
        nearest = ", ".join(
            f"{each['width']}x{each['height']} with {each['num_frames']} frames" for each in error.nearest
        )
        return (
            f"the video does not fit the GPU memory; nearest that fit: {nearest or 'none'}; estimate_video tells more"
        )
    if isinstance(error, InvalidRequest):
        return f"{argument_of(error.field)} must be {error.allowed}; {error.given} was given"
    if isinstance(error, StoreUnavailable):
        logger.error("%s: %s", error.code, error.message, exc_info=error)
    if isinstance(error, QueueFull) and error.retry_after_s:
        return f"{error.message}; try again in {error.retry_after_s} s"
    return f"{error.message}; try again later" if error.retryable else error.message


def _failure(message: str) -> "CallToolResult":
    from mcp_types import CallToolResult, TextContent

    return CallToolResult(content=[TextContent(type="text", text=message)], is_error=True)


def _result(answer: ToolAnswer) -> "CallToolResult":
    from mcp_types import Annotations, CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent

    if isinstance(answer.content, str):
        return CallToolResult(content=[TextContent(type="text", text=answer.content)])
    told: Mapping[str, Any] = answer.content
    content: list[ContentBlock] = [TextContent(type="text", text=json.dumps(told, ensure_ascii=False))]
    if "video_url" in told:
        content.append(
            ResourceLink(
                type="resource_link",
                name=f"ltx2_{told['video_id']}.mp4",
                uri=told["video_url"],
                mime_type="video/mp4",
                annotations=Annotations(audience=["user"]),
            )
        )
    if answer.image is not None:
        encoded = base64.b64encode(answer.image).decode()
        content.append(ImageContent(type="image", data=encoded, mime_type="image/jpeg"))
    return CallToolResult(content=content, structured_content=dict(told))
