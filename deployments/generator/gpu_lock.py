"""Turns at the GPU: one task at a time, and after a while without any the model may go to sleep."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HasWaiters = Callable[[], bool]
"""Says whether a task waits for its turn."""


class GpuLock:
    """A lock that knows who waits for it.

    After `idle_s` seconds in which nobody had a turn, `sleep` is called once, in a thread of its own that has
    the turn meanwhile; it is given a function that says whether it is waited for. `idle_s` None: never.
    """

    def __init__(self, idle_s: float | None, fall_asleep: Callable[[HasWaiters], None]) -> None:
        self._idle_s = idle_s
        self._fall_asleep = fall_asleep
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._waiting = 0
        self._changes = 0
        """Turns that were taken and given back: an even number while nobody has one."""
        self._ended = False
        if idle_s is not None:
            threading.Thread(target=self._watch_idle, args=(idle_s,), name="sleeper", daemon=True).start()

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Wait for a turn, and have it in this context."""
        with self._changed:
            self._waiting += 1
        with self._turn:
            with self._changed:
                self._waiting -= 1
                self._changes += 1
                self._changed.notify_all()
            try:
                yield
            finally:
                with self._changed:
                    self._changes += 1
                    self._changed.notify_all()

    def has_waiters(self) -> bool:
        """Whether somebody waits for a turn."""
        return self._waiting > 0

    def close(self) -> None:
        """Never fall asleep again."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _watch_idle(self, idle_s: float) -> None:
        slept = 0
        while (rest := self._wait_for_release(slept)) is not None:
            if self._is_acquired_within(rest, idle_s):
                continue
            with self._turn:
                if self._changes == rest:
                    self._fall_asleep(self.has_waiters)
                    slept = rest

    def _wait_for_release(self, slept: int) -> int | None:
        """Wait until nobody has the turn, for another time than `slept`. None when it is ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or (self._changes > slept and self._changes % 2 == 0))
            return None if self._ended else self._changes

    def _is_acquired_within(self, rest: int, idle_s: float) -> bool:
        """Whether the turn is taken, or all is ended, within `idle_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended or self._changes != rest, idle_s)
