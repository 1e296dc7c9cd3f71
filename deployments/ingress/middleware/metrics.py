"""Counts responses by route, method and status, and measures the time to the first byte."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.observability.metrics.definitions import HTTP_REQUEST_DURATION_SECONDS, HTTP_REQUESTS
from deployments.observability.metrics.recorder import MetricsRecorder

UNMATCHED = "unmatched"
"""Route label for unknown paths. Clients choose these paths, so the path itself must not become a label."""


class MetricsMiddleware:
    """Records metrics of each response. It does not read bodies, so streams pass through unchanged."""

    def __init__(self, app: ASGIApp, metrics: MetricsRecorder) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at, answered = time.monotonic(), False

        async def send_counted(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._record(scope, message["status"], time.monotonic() - began_at)
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        except Exception:
            if not answered:  # an outer layer sends the 500
                self._record(scope, 500, time.monotonic() - began_at)
            raise

    def _record(self, scope: Scope, status: int, answer_s: float) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED)
        self._metrics.add(HTTP_REQUESTS, route=route, method=scope["method"], status=str(status))
        self._metrics.observe(HTTP_REQUEST_DURATION_SECONDS, answer_s, route=route)
