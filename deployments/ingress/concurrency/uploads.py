"""Which requests bring a file, and so hold much memory: their number is bounded, all in all and for each owner."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from deployments.ingress.concurrency.limits import ConcurrencyLimit
from deployments.ingress.request_body.reading import MAX_FIELDS_BYTES


@contextmanager
def upload_slot(uploads: ConcurrencyLimit, request: Request) -> Iterator[None]:
    """Hold a seat until the context ends where the body may hold a file. Raises a 429 where none is free."""
    if not _may_hold_file(request):
        yield
        return
    with uploads.acquire():
        yield


def _may_hold_file(request: Request) -> bool:
    """A form, or a body that is longer than fields alone, or that does not say how long it is."""
    declared = request.headers.get("content-length", "")
    small = declared.isdecimal() and int(declared) <= MAX_FIELDS_BYTES
    return not small or request.headers.get("content-type", "").lower().startswith("multipart/")
