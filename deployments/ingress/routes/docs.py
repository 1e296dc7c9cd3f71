"""The page at `/docs`: Swagger UI for /openapi.json. The server itself has all its files.

FastAPI's own page loads scripts from a CDN. It is empty without internet access. A compromised CDN could also run code
on the same origin as the page that stores the API key.
"""

from datetime import datetime
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, Field

from deployments.ingress.errors import NotFound
from deployments.ingress.routes.web_ui import PageFile, answer_file, read_files
from deployments.ingress.schemas import TaskBody

FROM_PACKAGE = ("swagger-ui-bundle.js", "swagger-ui.css")
INDEX = "docs.html"
POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",  # data: Swagger UI's icons; blob: a response that is an image
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def swagger_ui_router() -> APIRouter:
    """Create the router of the page."""
    router = APIRouter(include_in_schema=False)
    page = read_swagger_ui()

    @router.api_route("/docs", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return answer_file(page[INDEX], request, POLICY)

    @router.api_route("/docs/{name}", methods=["GET", "HEAD"])
    async def part(name: str, request: Request) -> Response:
        if name not in page or name == INDEX:
            raise NotFound("there is no such file")
        return answer_file(page[name], request, POLICY)

    return router


def read_swagger_ui() -> dict[str, PageFile]:
    """All files of the page by name: this package's own files, and those of Swagger UI."""
    shipped = read_files(files("fastapi_offline") / "static")
    return read_files(files("deployments.ingress") / "static" / "docs") | {name: shipped[name] for name in FROM_PACKAGE}


EXAMPLE = {
    "type": "video.completed",
    "timestamp": "2026-11-25T10:00:00.500000Z",
    "data": {
        "task_id": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "status": "completed",
        "state": "completed",
        "num_inference_steps": 40,
        "quality": "exact",
        "progress": 1.0,
        "created_at": 1795600700.0,
        "started_at": 1795600702.5,
        "finished_at": 1795600800.5,
        "seed": 42,
        "model": "Lightricks/LTX-2",
        "url": "http://localhost:8004/outputs/ltx2_0f1e2d3c4b5a69788796a5b4c3d2e1f0.mp4",
        "poster_url": "http://localhost:8004/outputs/ltx2_0f1e2d3c4b5a69788796a5b4c3d2e1f0.jpg",
        "duration_s": 4.84,
        "size_bytes": 1234567,
    },
}
HEADERS = {
    "webhook-id": "Id of the message: the same in each attempt, so that you can detect a repeated message.",
    "webhook-timestamp": "Time of this attempt, in seconds since the epoch.",
    "webhook-signature": "Standard Webhooks 1.0: `v1,BASE64` for each secret of the server, separated by spaces.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Any 2xx: the receiver has the message."},
    410: {"description": "The receiver does not want the message: it is not sent again."},
    "default": {"description": "Anything else, also a redirect: the message is sent again, for about a day."},
}


class WebhookMessage(BaseModel):
    """The message about the end of a task."""

    type: Literal["video.completed", "video.failed", "video.canceled"]
    timestamp: Annotated[datetime, Field(description="When the task ended.")]
    data: Annotated[TaskBody, Field(description="The poll body at that time.")]


def describe_webhooks(app: FastAPI) -> None:
    """Add the message to a `webhook_url` to the OpenAPI document."""
    parameters = [
        {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in HEADERS.items()
    ]
    body = {"content": {"application/json": {"example": EXAMPLE}}}

    @app.webhooks.post(
        "video-ended",
        summary="The end of a task",
        responses=RESPONSES,
        openapi_extra={"parameters": parameters, "requestBody": body},
    )
    def video_ended(message: WebhookMessage) -> None:
        """Sent to the `webhook_url` of a submit: once or more, signed, without waiting for other receivers."""
