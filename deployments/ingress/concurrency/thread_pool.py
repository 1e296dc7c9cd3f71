"""The thread pools of the Ingress: one for each kind of blocking work, so that no kind uses the threads of another.

Starlette's own threads (anyio's) live as long as the task that runs the event loop. A replica has no such task, so
there each call would start a thread and end it again (anyio 4.16, `find_root_task`).
"""

import asyncio
import contextlib
import contextvars
import functools
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from deployments.ingress.concurrency.limits import current_owner
from storage.outputs.store import OutputStore, StoredFile

P = ParamSpec("P")
T = TypeVar("T")


class ThreadPool:
    """Runs work in at most `size` threads, of which one owner may use `per_owner`. Threads start when needed.

    More work waits. The owners take turns, so no owner waits for all the work of another.
    """

    def __init__(self, name: str, size: int, per_owner: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._slots = FairSlots(size, size if per_owner is None else per_owner)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a thread, in the caller's context. If the caller is canceled, work that has begun continues."""
        owner = current_owner.get()
        await self._slots.acquire(owner)
        context = contextvars.copy_context()
        try:
            begun = self._pool.submit(functools.partial(context.run, work, *args, **kwargs))
        except BaseException:
            self._slots.release(owner)
            raise
        loop = asyncio.get_running_loop()

        def give_back(_begun: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the event loop was closed
                loop.call_soon_threadsafe(self._slots.release, owner)

        begun.add_done_callback(give_back)
        return await asyncio.wrap_future(begun)

    def offload(self, work: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Turn a blocking route into one that runs in this pool. FastAPI sees the same parameters."""

        @functools.wraps(work)
        async def served(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.run(work, *args, **kwargs)

        return served


class FairSlots:
    """A semaphore that serves the owners in turn. Use it in one event loop only."""

    def __init__(self, size: int, per_owner: int) -> None:
        self._size = size
        self._per_owner = per_owner
        self._held = Counter[str]()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._last_turn = Counter[str]()
        """The number of each owner's last turn. The owner with the lowest number is next."""
        self._number = 0

    async def acquire(self, owner: str) -> None:
        """Wait for the owner's turn. The caller ends the turn with `release`."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the turn was already granted
                self.release(owner)
            raise

    def release(self, owner: str) -> None:
        """Free a slot of the owner."""
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self._grant()

    def _grant(self) -> None:
        while self._held.total() < self._size and (turn := self._next()) is not None:
            turn.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        for owner in sorted(self._waiting, key=self._last_turn.__getitem__):
            waiting = self._waiting[owner]
            while waiting and waiting[0].done():  # the waiter was canceled
                waiting.popleft()
            if not waiting:
                del self._waiting[owner]
            elif self._held[owner] < self._per_owner:
                self._held[owner] += 1
                self._number += 1
                self._last_turn[owner] = self._number
                return waiting.popleft()
        return None


class AsyncOutputReader:
    """The read methods of an output store, as coroutines."""

    def __init__(self, outputs: OutputStore, threads: ThreadPool) -> None:
        self._outputs = outputs
        self._threads = threads

    async def stat(self, key: str) -> StoredFile | None:
        """Describe a file; None if it does not exist."""
        return await self._threads.run(self._outputs.stat, key)

    async def sign(self, key: str, expires_s: int, filename: str) -> str | None:
        """Return a URL that reads the file for `expires_s` seconds, or None. May have to fetch credentials first."""
        return await self._threads.run(self._outputs.presign_url, key, expires_s, filename)

    async def open(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Read `length` bytes from `start`, in chunks. Raises FileNotFoundError before the first chunk."""
        return self._stream(await self._threads.run(self._outputs.open, key, start, length))

    async def _stream(self, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        while chunk := await self._threads.run(next, chunks, b""):
            yield chunk
