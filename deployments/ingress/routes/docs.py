"""Serves `/docs`: Swagger UI for /openapi.json, only with files of this server.

FastAPI's own page loads scripts from a CDN. Without internet it stays empty, and the CDN's code would run beside the
page that stores the API key.
"""

from importlib.resources import files

from fastapi import APIRouter, Request, Response

from deployments.ingress.errors import NotFound
from deployments.ingress.routes.web_ui import PageFile, answer_file, read_files

FROM_PACKAGE = ("swagger-ui-bundle.js", "swagger-ui.css")
INDEX = "docs.html"
POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",  # data: icons of Swagger UI; blob: a response that is an image
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def swagger_ui_router() -> APIRouter:
    """Build the router for the page."""
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
    """Return all files of the page by name: ours and those of Swagger UI."""
    shipped = read_files(files("fastapi_offline") / "static")
    return read_files(files("deployments.ingress") / "static" / "docs") | {name: shipped[name] for name in FROM_PACKAGE}
