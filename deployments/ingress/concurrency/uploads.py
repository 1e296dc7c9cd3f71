"""Limits requests that may upload a file, because each uses much memory: in total and for each owner."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from deployments.ingress.concurrency.limits import ConcurrencyLimit
from deployments.ingress.request_body.reading import MAX_FIELDS_BYTES


@contextmanager
def upload_slot(uploads: ConcurrencyLimit, request: Request) -> Iterator[None]:
    """Count the request as an upload until the context ends, if its body may contain a file.

    Raises TooManyRequests (429) if the limit is reached.
    """
    if not _may_hold_file(request):
        yield
        return
    with uploads.acquire():
        yield


def _may_hold_file(request: Request) -> bool:
    """Tell whether the body is a form, is longer than fields alone may be, or has no declared length."""
    declared = request.headers.get("content-length", "")
    small = declared.isdecimal() and int(declared) <= MAX_FIELDS_BYTES
    return not small or request.headers.get("content-type", "").lower().startswith("multipart/")
