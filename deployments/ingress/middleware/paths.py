"""Removes repeated slashes and a slash at the end of a path. People type them, and clients add them when joining paths.

A redirect would also work. But it would carry our internal scheme and host, not those of a TLS proxy in front of us.
"""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

SLASHES = re.compile(r"/{2,}")
RAW_SLASHES = re.compile(rb"/{2,}")


class PathNormalizationMiddleware:
    """Runs before everything that reads the path, including the API key check and the metrics labels."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does for the normalized path."""
        if scope["type"] == "http":
            path, raw_path = normalize_path(scope["path"]), scope.get("raw_path")
            if raw_path is not None:
                raw_path = RAW_SLASHES.sub(b"/", raw_path).rstrip(b"/") or b"/"
            scope = {**scope, "path": path, "raw_path": raw_path}
        await self._app(scope, receive, send)


def normalize_path(path: str) -> str:
    """Return the path with single slashes and no slash at its end."""
    return SLASHES.sub("/", path).rstrip("/") or "/"
