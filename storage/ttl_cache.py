"""A value that costs a query, kept for a few seconds."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class TtlCache(Generic[T]):
    """Calls `load` for the first `get`, and again when `ttl_s` have passed. One thread loads, the others wait for it.

    An error of `load` is raised and not kept.
    """

    def __init__(self, load: Callable[[], T], ttl_s: float) -> None:
        self._load = load
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        self._entry: tuple[float, T] | None = None

    def get(self) -> T:
        """The value, at most `ttl_s` old."""
        with self._lock:
            if self._entry is None or time.monotonic() >= self._entry[0]:
                value = self._load()
                self._entry = (time.monotonic() + self._ttl_s, value)
            return self._entry[1]
