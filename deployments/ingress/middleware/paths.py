"""A path with a slash at its end, or two for one, is the path without: what people type and clients join together.

A redirect would do too, but it would name the scheme and host that reach us, not those behind a TLS proxy.
"""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

SLASHES = re.compile(r"/{2,}")
RAW_SLASHES = re.compile(rb"/{2,}")


class PathNormalizationMiddleware:
    """Stands before all that looks at a path, the check of API keys and the labels of metrics among it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does to the plain path."""
        if scope["type"] == "http":
            path, raw_path = normalize_path(scope["path"]), scope.get("raw_path")
            if raw_path is not None:
                raw_path = RAW_SLASHES.sub(b"/", raw_path).rstrip(b"/") or b"/"
            scope = {**scope, "path": path, "raw_path": raw_path}
        await self._app(scope, receive, send)


def normalize_path(path: str) -> str:
    """The path with single slashes and none at its end."""
    return SLASHES.sub("/", path).rstrip("/") or "/"
