"""What stands before all routes: the door that asks for a key, and what other sites may do. The settings open both."""

from typing import Any

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware

from deployments.ingress.accept import KEY_HEADER
from deployments.ingress.keys import Door, Keyring
from deployments.ingress.open_requests import OpenRequests
from deployments.ingress.schemas import ErrorBody
from deployments.ingress.sites import OtherSites
from deployments.settings import Settings

METHODS = ("GET", "HEAD", "POST", "DELETE")
SENT = ("Authorization", "Content-Type", KEY_HEADER, "If-Range", "Last-Event-ID", "Range")
"""Headers that a page of another origin may send, and below those that it may read."""
EXPOSED = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "ETag",
    "Retry-After",
    "WWW-Authenticate",
)
PREFLIGHT_S = 600


def add_door(app: FastAPI, settings: Settings) -> None:
    """Put them before the routes: CORS outside, since a browser asks for it without a key."""
    app.add_middleware(OpenRequests, settings=settings)  # behind the door, which says whose a request is
    if settings.api_keys:
        app.add_middleware(Door, keyring=Keyring(settings.api_keys))
    app.add_middleware(OtherSites, allowed=settings.cors_origins, keys=bool(settings.api_keys))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_S,
        )


def said_in_docs(settings: Settings, error: type[BaseModel] = ErrorBody) -> dict[str, Any]:
    """What /docs shows of it on routes behind the door: where a key goes, the 401 and the 429."""
    busy = {
        429: {"model": error, "description": "As much is open or waits as may; `Retry-After` says when to ask again."}
    }
    if not settings.api_keys:
        return {"responses": busy}
    scheme = HTTPBearer(auto_error=False, description="Your API key.")
    return {"dependencies": [Security(scheme)], "responses": {401: {"model": error}, **busy}}
