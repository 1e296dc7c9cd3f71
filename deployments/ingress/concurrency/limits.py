"""Limits the open requests of one kind in a replica, in total and for each owner."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from deployments.ingress.concurrency.tenants import current_owner
from deployments.ingress.errors import TooManyRequests
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
