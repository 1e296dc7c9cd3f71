"""Limits the requests that are open at once, so that one owner cannot occupy the whole replica.

It runs after the API key check, which finds the owner of a request. Public paths are not counted, so /health always
answers.
"""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.concurrency.limits import ConcurrencyLimit, limit_per_owner
from deployments.ingress.errors import TooManyRequests, error_body, error_response
from deployments.ingress.middleware.auth import is_public
from deployments.settings import Settings

KEPT_FREE = 10
"""One tenth of the replica's requests is reserved for /health and the other public paths."""


class RequestLimitMiddleware:
    """Refuses requests over the limit with a 429. It never reads a body."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        most = settings.ingress.max_ongoing_requests
        per_owner, advice = limit_per_owner(settings, most), "wait for one of them to end"
        self._limit = ConcurrencyLimit(
            most - most // KEPT_FREE, per_owner, "requests", "too_many_open_requests", advice
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with 429."""
        if scope["type"] != "http" or is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            self._limit.check_free()
        except TooManyRequests as error:
            await error_response(Request(scope), 429, error_body(error), error.headers)(scope, receive, send)
            return
        with self._limit.acquire():
            await self._app(scope, receive, send)
