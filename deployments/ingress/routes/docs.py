"""The page at `/docs`: Swagger UI for /openapi.json. The server itself has all its files.

FastAPI's own page loads scripts from a CDN. It is empty without internet access. A compromised CDN could also run code
on the same origin as the page that stores the API key.
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
