"""Notifies the Dispatcher after a submit: at once, but then at most once per interval."""

import asyncio
from collections.abc import Awaitable, Callable

MIN_INTERVAL_S = 0.05
"""A call to another process costs more than a submit. One call is enough for many submits: a Dispatcher with free
capacity claims everything that waits."""


class DispatcherNotifier:
    """Calls `send` for each request. All requests during the interval share one call after it."""

    def __init__(self, send: Callable[[], Awaitable[None]]) -> None:
        self._send = send
        self._asked = False
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Request a notification, without waiting for it."""
        self._asked = True
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._asked:
            self._asked = False
            await self._send()
            await asyncio.sleep(MIN_INTERVAL_S)
