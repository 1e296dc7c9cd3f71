"""The GPU lock: one task at a time. After some idle time, the model goes to sleep."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HasWaiters = Callable[[], bool]
"""Returns whether a task waits for the lock."""


class GpuLock:
    """A lock that counts its waiters and calls `fall_asleep` when it is idle.

    After `idle_s` seconds without a holder, `fall_asleep` is called once, in a separate thread that holds the lock.
    Its argument is a function that returns whether a task waits. With `idle_s` None it is never called.
    """

    def __init__(self, idle_s: float | None, fall_asleep: Callable[[HasWaiters], None]) -> None:
        self._idle_s = idle_s
        self._fall_asleep = fall_asleep
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._waiting = 0
        self._changes = 0
        """Number of times the lock was acquired or released. An even number while the lock is free."""
        self._ended = False
        if idle_s is not None:
            threading.Thread(target=self._watch_idle, args=(idle_s,), name="sleeper", daemon=True).start()

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Wait for the lock and hold it inside this context."""
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
        """Whether a task waits for the lock."""
        return self._waiting > 0

    def close(self) -> None:
        """End the idle thread: `fall_asleep` is not called any more."""
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
        """Wait until the lock is free after a change later than `slept`. Returns that change; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or (self._changes > slept and self._changes % 2 == 0))
            return None if self._ended else self._changes

    def _is_acquired_within(self, rest: int, idle_s: float) -> bool:
        """Whether the lock is acquired, or this object is closed, within `idle_s` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended or self._changes != rest, idle_s)
