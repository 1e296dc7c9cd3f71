"""Limits the requests that may carry a file, because each holds much memory.

The limit applies in total and to each owner.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from deployments.ingress.concurrency.limits import ConcurrencyLimit
from deployments.ingress.request_body.reading import MAX_FIELDS_BYTES


@contextmanager
def upload_slot(uploads: ConcurrencyLimit, request: Request) -> Iterator[None]:
    """Hold an upload slot until the context ends, if the body may hold a file. Raises TooManyRequests (429)."""
    if not _may_hold_file(request):
        yield
        return
    with uploads.acquire():
        yield


def _may_hold_file(request: Request) -> bool:
    """True for a form, for a body larger than MAX_FIELDS_BYTES, and for a body without a declared length."""
    declared = request.headers.get("content-length", "")
    small = declared.isdecimal() and int(declared) <= MAX_FIELDS_BYTES
    return not small or request.headers.get("content-type", "").lower().startswith("multipart/")
