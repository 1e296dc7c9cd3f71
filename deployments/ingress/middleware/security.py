"""Installs the security middleware: API keys, request limits and rules for other sites, as the settings say."""

from typing import Any

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware

from deployments.ingress.middleware.auth import ApiKeyMiddleware, ApiKeyStore
from deployments.ingress.middleware.cross_site import CrossSiteRequestMiddleware
from deployments.ingress.middleware.open_requests import RequestLimitMiddleware
from deployments.ingress.schemas import ErrorBody
from deployments.ingress.submission import IDEMPOTENCY_HEADER
from deployments.settings import Settings

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    IDEMPOTENCY_HEADER,
    "If-Range",
    "Last-Event-ID",
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
    "Range",
)
"""Headers that a page of another origin may send. EXPOSED_HEADERS lists those that it may read."""
EXPOSED_HEADERS = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "ETag",
    "Retry-After",
    "openai-poll-after-ms",
    "WWW-Authenticate",
)
PREFLIGHT_MAX_AGE_S = 600


def add_security_middleware(app: FastAPI, settings: Settings) -> None:
    """Add the middleware. CORS is outermost, because a browser sends the preflight request without a key."""
    app.add_middleware(RequestLimitMiddleware, settings=settings)  # inside the API key check, which finds the owner
    if settings.api_keys:
        app.add_middleware(ApiKeyMiddleware, key_store=ApiKeyStore(settings.api_keys))
    app.add_middleware(CrossSiteRequestMiddleware, allowed=settings.cors_origins, keys=bool(settings.api_keys))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=EXPOSED_HEADERS,
            max_age=PREFLIGHT_MAX_AGE_S,
        )


def openapi_security(settings: Settings, error: type[BaseModel] = ErrorBody) -> dict[str, Any]:
    """Return the OpenAPI part for protected routes: the API key scheme, the 401 and the 429."""
    busy = {
        429: {
            "model": error,
            "description": "A limit on open or queued requests is reached; `Retry-After` says when to ask again.",
        }
    }
    if not settings.api_keys:
        return {"responses": busy}
    scheme = HTTPBearer(auto_error=False, description="Your API key.")
    return {"dependencies": [Security(scheme)], "responses": {401: {"model": error}, **busy}}
