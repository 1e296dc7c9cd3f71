"""How many requests of one kind a replica holds open at once, and how many of them for one owner."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from deployments.ingress.concurrency.tenants import current_owner
from deployments.ingress.errors import TooManyRequests
from storage.tasks import ANONYMOUS


class ConcurrencyLimit:
    """Counts the open requests of one kind, and refuses more than there are seats for.

    `kind` is what they are called in a refusal. `code` is its error code where the owner's own seats are taken.
    """

    def __init__(self, limit: int, per_owner: int, kind: str, code: str, advice: str) -> None:
        self._limit = limit
        self._per_owner = per_owner
        self._kind = kind
        self._code = code
        self._advice = advice
        self._taken = Counter[str]()

    def check_free(self) -> None:
        """Raise a 429 where no seat is free."""
        owner = current_owner.get()
        if owner != ANONYMOUS and self._taken[owner] >= self._per_owner:
            own = f"{self._per_owner} {self._kind} of the key {owner} are open, as many as may; {self._advice}"
            raise TooManyRequests(own, self._code)
        if self._taken.total() >= self._limit:
            raise TooManyRequests(f"too many {self._kind} are open; {self._advice}")

    @contextlib.contextmanager
    def acquire(self) -> Iterator[None]:
        """Hold a seat until the context ends. Raises a 429 where none is free."""
        self.check_free()
        owner = current_owner.get()
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]
