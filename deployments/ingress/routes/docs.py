"""The page at `/docs`: Swagger UI over /openapi.json, from files of this server alone.

FastAPI's own page loads scripts from a CDN: without the internet it stays empty, and whoever answers there runs code
beside the page that keeps the API key.
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
        "img-src 'self' data: blob:",  # data: the icons of Swagger UI; blob: an answer that is a picture
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def swagger_ui_router() -> APIRouter:
    """The routes of the page."""
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
    """All files of the page by name: our two, and those of Swagger UI."""
    shipped = read_files(files("fastapi_offline") / "static")
    return read_files(files("deployments.ingress") / "static" / "docs") | {name: shipped[name] for name in FROM_PACKAGE}
