"""Reads the request id and trace context of a request, for logs and tracing.

Ray Serve accepts `X-Request-Id`, creates one if it is missing, and returns it.
"""

import re

from fastapi import Request

from storage.tasks import RequestContext

REQUEST_ID = re.compile(r"[!-~]{1,128}")
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Version 00 of W3C Trace Context. Fields of later versions are unknown, so they are not passed on."""


def read_request_context(request: Request) -> RequestContext:
    """Read both headers. A malformed header counts as missing."""
    return RequestContext(
        _matching(REQUEST_ID, request.headers.get("x-request-id")),
        _matching(TRACEPARENT, request.headers.get("traceparent")),
    )


def _matching(pattern: re.Pattern[str], value: str | None) -> str | None:
    return value if value is not None and pattern.fullmatch(value) else None
