"""Adds security headers to every response, including errors and files."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers and their purpose:

- `X-Content-Type-Options`: browsers trust the declared content type.
- `X-Frame-Options`: no other site can show a response inside its page.
- `Referrer-Policy`: other sites do not get the page's URL, which contains the task id that gives access to the task.
- `Cache-Control`: no cache keeps an old task status, or a 404 for a file that does not exist yet.

A header that a route sets itself takes precedence."""


class SecurityHeadersMiddleware:
    """Adds SECURITY_HEADERS to responses. It does not read bodies, so streams pass through unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safely)
