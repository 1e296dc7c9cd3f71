"""Notifies the Dispatchers after a submit: at once, and then at most once in MIN_INTERVAL_S."""

import asyncio
from collections.abc import Awaitable, Callable

MIN_INTERVAL_S = 0.05
"""Seconds. A call to another process costs more than a submit. After one call a Dispatcher claims all tasks that it has
capacity for."""


class DispatcherNotifier:
    """Calls `send` on request. Requests during a call, or the pause after it, cause one more call in total."""

    def __init__(self, send: Callable[[], Awaitable[None]]) -> None:
        self._send = send
        self._asked = False
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Request a call of `send`, without waiting for it."""
        self._asked = True
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._asked:
            self._asked = False
            await self._send()
            await asyncio.sleep(MIN_INTERVAL_S)
