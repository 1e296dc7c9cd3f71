"""Limits the open requests of one kind in a replica, in total and for each owner.

With several owners, each may use `ingress.max_fraction_per_key` of a limit, but at least 1. This rule covers threads,
open requests, uploads, waiting requests and event streams. Without API keys or with a single one, there is only one
owner, who may use the whole limit.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from fastapi import Request

from deployments.ingress.errors import TooManyRequests
from deployments.ingress.request_body.reading import MAX_FIELDS_BYTES
from deployments.settings import Settings
from storage.tasks import ANONYMOUS


class ConcurrencyLimit:
    """Counts the open requests of one kind, and refuses those over the limit.

    `kind` is the name of these requests in the error message. `code` is the error code if the owner's own limit is
    reached.
    """

    def __init__(self, limit: int, per_owner: int, kind: str, code: str, advice: str) -> None:
        self._limit = limit
        self._per_owner = per_owner
        self._kind = kind
        self._code = code
        self._advice = advice
        self._taken = Counter[str]()

    def check_free(self) -> None:
        """Raise TooManyRequests (429) if the limit is reached."""
        owner = current_owner.get()
        if owner != ANONYMOUS and self._taken[owner] >= self._per_owner:
            own = f"the key {owner} has {self._per_owner} open {self._kind}, its maximum; {self._advice}"
            raise TooManyRequests(own, self._code)
        if self._taken.total() >= self._limit:
            raise TooManyRequests(f"too many {self._kind} are open; {self._advice}")

    @contextlib.contextmanager
    def acquire(self) -> Iterator[None]:
        """Count one request until the context ends. Raises TooManyRequests (429) if the limit is reached."""
        self.check_free()
        owner = current_owner.get()
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]


current_owner: ContextVar[str] = ContextVar("owner", default=ANONYMOUS)
"""The owner of the request's API key. ApiKeyMiddleware sets it for all work on the request."""


def limit_per_owner(settings: Settings, bound: int) -> int:
    """Return how much of `bound` one owner may use."""
    if len(settings.quotas) <= 1:
        return bound
    return max(1, int(bound * settings.ingress.max_fraction_per_key))


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
