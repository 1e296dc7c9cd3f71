"""Normalizes paths: removes trailing slashes and repeated slashes, which users type and clients produce by joining.

A redirect would also work, but it would use the internal scheme and host, which is wrong behind a TLS proxy.
"""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

SLASHES = re.compile(r"/{2,}")
RAW_SLASHES = re.compile(rb"/{2,}")


class PathNormalizationMiddleware:
    """Must be the outermost middleware that reads paths, before the API-key check and the metrics' labels."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its normalized path."""
        if scope["type"] == "http":
            path, raw_path = normalize_path(scope["path"]), scope.get("raw_path")
            if raw_path is not None:
                raw_path = RAW_SLASHES.sub(b"/", raw_path).rstrip(b"/") or b"/"
            scope = {**scope, "path": path, "raw_path": raw_path}
        await self._app(scope, receive, send)


def normalize_path(path: str) -> str:
    """Return the path with single slashes and without a trailing slash."""
    return SLASHES.sub("/", path).rstrip("/") or "/"
