"""How many requests of one kind a replica holds open at once."""

import contextlib
from collections.abc import Iterator

from starlette.exceptions import HTTPException

RETRY_AFTER_S = "10"


class Seats:
    """Counts the open requests of one kind, and refuses more than there are seats for."""

    def __init__(self, limit: int, refusal: str) -> None:
        self._limit = limit
        self._refusal = refusal
        self._taken = 0

    def check(self) -> None:
        """Raise a 429 where no seat is free."""
        if self._taken >= self._limit:
            raise HTTPException(429, self._refusal, {"Retry-After": RETRY_AFTER_S})

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Hold a seat until the context ends. Raises a 429 where none is free."""
        self.check()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
