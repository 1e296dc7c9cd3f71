"""Takes requests of ComfyUI's LTX nodes as those of the hosted LTX API.

ComfyUI sends them to a proxy of its own: below other paths, with its own header for the key, and with its own uploads.
"""

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.context import AppContext
from deployments.ingress.ltx_api.images import UPLOADS
from deployments.ingress.ltx_api.schemas import STORAGE, is_ltx_path
from deployments.ingress.request_body.reading import discard_body
from deployments.ingress.uploads.access import create_upload

PROXY = "/proxy/ltx"
"""What ComfyUI puts before the paths of the hosted LTX API."""
KEY, AUTHORIZATION = b"x-api-key", b"authorization"


class ComfyUpload(BaseModel):
    """Where to send a file, and how a request then names it."""

    upload_url: str
    download_url: str


class ComfyUIMiddleware:
    """Makes requests of ComfyUI those of the hosted LTX API. Runs before the check of the API key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["path"].startswith((f"{PROXY}/", STORAGE)):
            scope = as_ltx_request(scope)
        await self._app(scope, receive, send)


def as_ltx_request(scope: Scope) -> Scope:
    """The request without the proxy's part of the path, and with its key where this server reads it.

    Returns other requests as they are: the prefix opens no more than the hosted LTX API.
    """
    path = scope["path"].removeprefix(PROXY)
    if not is_ltx_path(path):
        return scope
    headers = dict(scope["headers"])
    moved = [(AUTHORIZATION, b"Bearer " + headers[KEY])] if KEY in headers and AUTHORIZATION not in headers else []
    raw_path = (scope.get("raw_path") or path.encode()).removeprefix(PROXY.encode())
    return {**scope, "path": path, "raw_path": raw_path, "headers": [*scope["headers"], *moved]}


def comfyui_router(context: AppContext) -> APIRouter:
    """Create the router of ComfyUI's uploads. OpenAPI leaves the route out: it is for ComfyUI alone."""
    router = APIRouter(include_in_schema=False)

    @router.post(STORAGE)
    async def create_comfyui_upload(request: Request) -> ComfyUpload:
        """Answers with the url that takes the file, and with the `..._uri` that names it."""
        await discard_body(request, context.settings)
        upload = await create_upload(context, request)
        return ComfyUpload(upload_url=upload.put_url, download_url=UPLOADS + upload.id)

    return router
