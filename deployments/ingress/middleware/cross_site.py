"""Refuses what a page of another site has a visitor's browser send.

Such a page cannot read an answer (CORS), but without this it could send a form, from inside the visitor's network: make
videos on a server that its own author cannot reach.
"""

from collections.abc import Collection

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.errors import error_response
from deployments.ingress.schemas import ErrorBody

SAFE_SITES = ("GET", "HEAD", "OPTIONS")
REFUSAL = "a page of another site sent this; cors_origins has the sites that may"


class CrossSiteRequestMiddleware:
    """Goes by Sec-Fetch-Site: the browser alone writes it, and no proxy changes it. Other programs send none.

    A neighbour (`same-site`: another port of localhost, another host of one domain) is another site where there are no
    keys. With keys it may send, as it cannot do so blindly: a form carries no key.

    Browsers send it over https and to localhost: over plain http to another host nothing is refused (docs/security.md).
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str], *, keys: bool) -> None:
        self._app = app
        self._allowed = frozenset(allowed)
        self._refused = ("cross-site",) if keys else ("cross-site", "same-site")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or with a 403."""
        if scope["type"] == "http" and self._is_cross_site(request := Request(scope)):
            body = ErrorBody(error=REFUSAL, error_code="forbidden")
            await error_response(request, 403, body)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_cross_site(self, request: Request) -> bool:
        if request.method in SAFE_SITES or request.headers.get("sec-fetch-site") not in self._refused:
            return False
        return request.headers.get("origin") not in self._allowed
