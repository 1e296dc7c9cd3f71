"""Refuses requests that a page of another site makes a visitor's browser send.

CORS already prevents such a page from reading an answer. Without this check, the page could still send a form from
inside the visitor's network. It could then create videos on a server that the page's author cannot reach.
"""

from collections.abc import Collection

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.errors import error_response
from deployments.ingress.schemas import ErrorBody

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
REFUSAL = "a page of another site sent this request; cors_origins lists the sites that may do so"


class CrossSiteRequestMiddleware:
    """Checks the header Sec-Fetch-Site. Only browsers write it, and no proxy changes it; other programs omit it.

    `same-site` means another port of localhost or another host of the same domain. Without API keys, such requests
    are refused too. With API keys they are allowed, because a form cannot carry a key.

    Browsers send the header over https and to localhost. Over plain http to another host nothing is refused
    (docs/security.md).
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str], *, keys: bool) -> None:
        self._app = app
        self._allowed = frozenset(allowed)
        self._refused = ("cross-site",) if keys else ("cross-site", "same-site")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with 403."""
        if scope["type"] == "http" and self._is_cross_site(request := Request(scope)):
            body = ErrorBody(error=REFUSAL, error_code="forbidden")
            await error_response(request, 403, body)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_cross_site(self, request: Request) -> bool:
        if request.method in SAFE_METHODS or request.headers.get("sec-fetch-site") not in self._refused:
            return False
        return request.headers.get("origin") not in self._allowed
