"""The web UI at `/`: static files of this package. A browser caches them until they change."""

import contextlib
import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from deployments.ingress.context import AppContext
from deployments.ingress.errors import NotFound
from models.errors import StoreUnavailable
from storage.outputs.store import output_key

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page, in memory."""

    content: bytes
    media_type: str

    @cached_property
    def etag(self) -> str:
        """The hash of the content, quoted as an ETag."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def page_router(context: AppContext) -> APIRouter:
    """Create the router of the page. The page uses the API like any other client."""
    router = APIRouter(include_in_schema=False)
    page = read_page()

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return answer_file(page["index.html"], request, _policy(await _bucket_origin(context)))

    @router.api_route("/page/{name}", methods=["GET", "HEAD"])
    async def part(name: str, request: Request) -> Response:
        if name not in page:
            raise NotFound("there is no such file")
        return answer_file(page[name], request, _policy(""))

    return router


def read_page() -> dict[str, PageFile]:
    """Return all files of the page by name."""
    return read_files(files("deployments.ingress") / "static" / "ui")


def read_files(folder: Traversable) -> dict[str, PageFile]:
    """The files in a folder that have a known media type, by name."""
    return {
        file.name: PageFile(file.read_bytes(), MEDIA_TYPES[suffix])
        for file in folder.iterdir()
        if (suffix := file.name.rpartition(".")[2]) in MEDIA_TYPES
    }


async def _bucket_origin(context: AppContext) -> str:
    """The origin of the bucket if clients download files from it; empty if this server delivers them."""
    if context.settings.outputs.delivery != "redirect":
        return ""
    with contextlib.suppress(StoreUnavailable):  # no credentials yet: the page loads without videos
        if url := await context.reads.sign(output_key("any"), 60, "any"):
            return "{0.scheme}://{0.netloc}".format(urlsplit(url))
    return ""


def _policy(bucket: str) -> str:
    """The Content-Security-Policy: the page may only use this server and its bucket, and only run its scripts."""
    return "; ".join(
        (
            "default-src 'self'",
            f"img-src 'self' blob: {bucket}".rstrip(),  # blob: what was chosen, before it is sent
            f"media-src 'self' blob: {bucket}".rstrip(),
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def answer_file(file: PageFile, request: Request, policy: str) -> Response:
    """Return the file with the Content-Security-Policy `policy`, or a 304."""
    headers = {
        "ETag": file.etag,
        "Cache-Control": "no-cache",  # cached but revalidated each time: an upgrade shows at once
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
    }
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, 200, headers, file.media_type)
